"""A comparison as Markdown and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence

from vtadl.compare.findings import NONE, Findings, p_text, study_rows
from vtadl.compare.outcomes import Outcome
from vtadl.compare.significance import AcrossCategories, WithinCategory
from vtadl.compare.sweep import Sweep
from vtadl.compare.tables import Table, labels, method_of

ACROSS_HEAD = ("pair", "categories", "mean difference", "first is higher in", "p", "p, Holm")
WITHIN_HEAD = ("pair", "category", "difference", "95 % interval", "p")
PAIR_HEAD = ("first_preset", "first_objective", "second_preset", "second_objective")
ACROSS_EXPLAINED = (
    "Wilcoxon's signed-rank test on the categories' metrics, seeds averaged, two-sided; p is corrected for the "
    "number of pairs by Holm's procedure."
)
WITHIN_EXPLAINED = (
    "1,000 resamples of the test images, the same for both methods, seeds averaged: how far the difference would "
    "move with other images of the same kind. It does not say how far it would move with other seeds, and p is "
    "not corrected for the number of rows."
)
SWEEP_EXPLAINED = "every value is a cell of its own; choosing the best one here would be choosing on the test set"

Settings = Mapping[str, Sequence[str]]
"""For each preset, the settings in which it differs from the preset as it comes."""


def markdown(
    findings: Mapping[str, Findings], metric: str, outcomes: Sequence[Outcome], settings: Settings, sweep: Sweep | None
) -> str:
    """Tables and tests of the chosen metric, then the other metrics' tables."""
    chosen = findings[metric]
    parts = [f"# Comparison: {metric}", summary(chosen.table, outcomes), settings_text(settings)]
    parts.append(_table(*study_rows(chosen)))
    parts += [f"*{column.title}*: {column.meaning}" for column in chosen.columns.values()]
    if sweep is not None:
        parts += [
            f"## Sweep of {sweep.name} in `{sweep.expression}`",
            f"{SWEEP_EXPLAINED[0].upper()}{SWEEP_EXPLAINED[1:]}.",
        ]
    if chosen.across:
        parts += ["## Pairs of methods, over categories", ACROSS_EXPLAINED, _table(ACROSS_HEAD, across_rows(chosen))]
        parts += across_reasons(chosen)
        parts += ["## Pairs of methods, over the images of a category", WITHIN_EXPLAINED]
        parts.append(_table(WITHIN_HEAD, within_rows(chosen)))
    if failures := failure_rows(outcomes):
        parts += ["## Failed cells", _table(("category", "method", "seed", "error"), failures)]
    parts.append("## The other metrics")
    for name, other in findings.items():
        if name != metric:
            parts += [f"### {name}", _table(*study_rows(other))]
    return "\n\n".join(parts) + "\n"


def entries_csv(findings: Mapping[str, Findings]) -> str:
    """A line for each metric, category and method: mean and spread over seeds; the mean over categories last."""
    lines: list[list[object]] = [["metric", "category", "preset", "objective", "mean", "spread", "seeds", "published"]]
    for metric, one in findings.items():
        table = one.table
        for (category, method), entry in table.entries.items():
            values = (entry.mean, entry.spread, entry.seeds, one.published.get((category, method)))
            lines.append([metric, category, method.preset, method.objective, *values])
        for method, entry in table.means.items():
            lines.append([metric, "mean", method.preset, method.objective, entry.mean, entry.spread, entry.seeds, None])
    return _csv(lines)


def pairs_csv(findings: Mapping[str, Findings]) -> str:
    """A line for each metric and pair of methods over categories, then one for each category and pair over images."""
    head = ("metric", "over", "category", *PAIR_HEAD, "difference", "low", "high", "p", "p_holm", "why")
    lines: list[list[object]] = [list(head)]
    for metric, one in findings.items():
        for pair in one.across:
            values = (pair.difference, None, None, pair.p, pair.p_holm, pair.why)
            lines.append([metric, "categories", None, *_methods(pair), *values])
        for inside in one.within:
            found = inside.comparison
            numbers = (None,) * 4 if found is None else (found.difference, *found.interval, found.p)
            lines.append([metric, "images", inside.category, *_methods(inside), *numbers, None, inside.why])
    return _csv(lines)


def cells_csv(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> str:
    """A line for each cell."""
    lines: list[list[object]] = [["category", "preset", "objective", "seed", "status", *metrics, "error"]]
    for o in outcomes:
        values = [o.metrics.get(metric) for metric in metrics]
        lines.append([o.category, o.preset, o.objective, o.seed, o.status, *values, o.error])
    return _csv(lines)


def summary(table: Table, outcomes: Sequence[Outcome]) -> str:
    """How many cells there are, and how the metrics were made."""
    done = sum(outcome.status == "done" for outcome in outcomes)
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    seeds = ", ".join(map(str, dict.fromkeys(outcome.seed for outcome in outcomes)))
    state = "" if done == len(outcomes) else f" ({done} done, {failed} failed, {len(outcomes) - done - failed} to do)"
    spread = "; ± is the standard deviation over seeds" if "," in seeds else ""
    return (
        f"{counted(len(outcomes), 'cell')}{state}: {counted(len(table.categories), 'category')}, "
        f"{counted(len(table.methods), 'method')}, {'seeds' if ',' in seeds else 'seed'} {seeds}"
        f"{spread}. Metrics at the masks' own resolution; 8-connected regions; a threshold at every distinct score; "
        "nothing cropped, no mask dilated. The last row is the mean over the categories that all methods completed."
    )


def settings_text(settings: Settings) -> str:
    """What was changed of each preset."""
    said = {preset: f"with {', '.join(changed)}" if changed else "as it comes" for preset, changed in settings.items()}
    return f"Settings: {'; '.join(f'{preset} {changes}' for preset, changes in said.items())}."


def across_rows(findings: Findings) -> list[list[str]]:
    """A row for each pair of methods."""
    return [
        [
            _pair(pair, findings.table),
            str(pair.categories),
            signed(pair.difference),
            f"{pair.wins} of {pair.categories}",
            p_text(pair.p),
            p_text(pair.p_holm),
        ]
        for pair in findings.across
    ]


def across_reasons(findings: Findings) -> list[str]:
    """Why there is no p where there is none, each reason once."""
    return [f"{NONE} under p: {why}." for why in dict.fromkeys(pair.why for pair in findings.across if pair.why)]


def within_rows(findings: Findings) -> list[list[str]]:
    """A row for each category and pair of methods."""
    rows = []
    for one in findings.within:
        found = one.comparison
        values = [NONE, one.why, NONE]
        if found is not None:
            low, high = found.interval
            values = [signed(found.difference), f"{signed(low)} to {signed(high)}", p_text(found.p)]
        rows.append([_pair(one, findings.table), one.category, *values])
    return rows


def failure_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """A row for each failed cell."""
    names = labels(tuple(dict.fromkeys(map(method_of, outcomes))))
    return [[o.category, names[method_of(o)], str(o.seed), o.error or ""] for o in outcomes if o.status == "failed"]


def signed(value: float | None) -> str:
    """A difference."""
    return NONE if value is None else f"{value:+.3f}"


def counted(count: int, noun: str) -> str:
    """A number of things."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{count} {noun}s"


def _methods(pair: AcrossCategories | WithinCategory) -> tuple[str | None, ...]:
    return pair.first.preset, pair.first.objective, pair.second.preset, pair.second.objective


def _pair(pair: AcrossCategories | WithinCategory, table: Table) -> str:
    return f"{table.label(pair.first)} against {table.label(pair.second)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *(["--:"] * (len(head) - 1))], *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def _csv(lines: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()
