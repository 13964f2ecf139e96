"""The study's table: categories down, methods across, means over seeds and their spread."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vtadl.compare.outcomes import Outcome


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a column of the table stands for: a preset with an objective."""

    preset: str
    objective: str | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One metric over the seeds."""

    mean: float | None
    """Over the seeds that have the metric."""
    spread: float | None
    """Sample standard deviation over seeds; ``None`` for fewer than two."""
    seeds: int
    """Seeds that have the metric."""
    missing: int
    """Seeds whose cell failed, or is not done yet."""

    @property
    def complete(self) -> bool:
        """Whether every seed has the metric: only then the entry takes part in means and tests."""
        return self.mean is not None and not self.missing


@dataclass(frozen=True, kw_only=True)
class Table:
    """One metric of all cells."""

    metric: str
    categories: tuple[str, ...]
    methods: tuple[Method, ...]
    entries: dict[tuple[str, Method], Entry]
    shared: tuple[str, ...]
    """The categories that the last row is a mean of: those where every method that has any metric is complete."""
    means: dict[Method, Entry]

    def label(self, method: Method) -> str:
        """A method's name, as short as it can be in this table."""
        return labels(self.methods)[method]


def tabulate(outcomes: Sequence[Outcome], metric: str) -> Table:
    """Average one metric over seeds, and the result over categories."""
    categories = tuple(dict.fromkeys(outcome.category for outcome in outcomes))
    methods = tuple(dict.fromkeys(method_of(outcome) for outcome in outcomes))
    cells: dict[tuple[str, Method], dict[int, Outcome]] = {}
    for outcome in outcomes:
        cells.setdefault((outcome.category, method_of(outcome)), {})[outcome.seed] = outcome
    entries = {place: _entry(metric, list(by_seed.values())) for place, by_seed in cells.items()}
    measured = [m for m in methods if any(entries[category, m].mean is not None for category in categories)]
    shared = tuple(c for c in categories if measured and all(entries[c, m].complete for m in measured))
    return Table(
        metric=metric,
        categories=categories,
        methods=methods,
        entries=entries,
        shared=shared,
        means={m: _mean([cells[c, m] for c in shared] if m in measured else [], metric) for m in methods},
    )


def method_of(outcome: Outcome) -> Method:
    """The method that a cell belongs to."""
    return Method(preset=outcome.preset, objective=outcome.objective)


def labels(methods: Sequence[Method]) -> dict[Method, str]:
    """Names that tell methods apart: the objective alone where only one preset has objectives."""
    trained = {method.preset for method in methods if method.objective is not None}
    return {
        method: method.preset
        if method.objective is None
        else method.objective
        if len(trained) == 1
        else f"{method.preset}: {method.objective}"
        for method in methods
    }


def _entry(metric: str, outcomes: Sequence[Outcome]) -> Entry:
    values = [value for outcome in outcomes if (value := outcome.metrics.get(metric)) is not None]
    return _averaged(values, missing=sum(outcome.status != "done" for outcome in outcomes))


def _mean(cells: Sequence[dict[int, Outcome]], metric: str) -> Entry:
    """The mean over categories: of each seed, then over seeds, so that its spread is that of whole repetitions."""
    seeds = cells[0] if cells else ()
    of_seed = [[value for cell in cells if (value := cell[seed].metrics[metric]) is not None] for seed in seeds]
    return _averaged([statistics.fmean(values) for values in of_seed], missing=0)


def _averaged(values: Sequence[float], missing: int) -> Entry:
    return Entry(
        mean=statistics.fmean(values) if values else None,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        seeds=len(values),
        missing=missing,
    )
