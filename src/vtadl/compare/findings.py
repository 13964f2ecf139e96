"""All that a comparison says of one metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vtadl.compare.outcomes import Outcome
from vtadl.compare.published import MEASURED, PublishedColumn, published_column
from vtadl.compare.significance import (
    AcrossCategories,
    Draws,
    WithinCategory,
    across_categories,
    within_categories,
)
from vtadl.compare.tables import Entry, Method, Table, tabulate

NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Table, tests and published numbers of one metric."""

    table: Table
    across: tuple[AcrossCategories, ...]
    within: tuple[WithinCategory, ...]
    published: Mapping[tuple[str, Method], float]
    """Only for cells with published settings, and only beside the metrics that the numbers measure or are named for."""

    @property
    def columns(self) -> dict[Method, PublishedColumn]:
        """The published columns that have a number, each once, with the first method that it belongs to."""
        columns: dict[Method, PublishedColumn] = {}
        for _, method in self.published:
            column = published_column(method.objective)
            if column is not None and column not in columns.values():
                columns[method] = column
        return columns


def find(
    outcomes: Sequence[Outcome],
    metric: str,
    draws: Callable[[Outcome], Draws],
    published: Mapping[tuple[str, Method], float],
) -> Findings:
    """Tabulate a metric and test its differences."""
    table = tabulate(outcomes, metric)
    return Findings(
        table=table,
        across=tuple(across_categories(table)),
        within=tuple(within_categories(outcomes, table, draws)),
        published=published if metric in MEASURED else {},
    )


def study_rows(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the study's table as text, the mean last."""
    table, columns = findings.table, findings.columns
    head = ["category", *(table.label(m) for m in table.methods), *(c.title for c in columns.values())]
    rows = [
        [
            category,
            *(entry_text(table.entries[category, m]) for m in table.methods),
            *(number(findings.published.get((category, m))) for m in columns),
        ]
        for category in table.categories
    ]
    title = "mean" if len(table.shared) == len(table.categories) else f"mean of {len(table.shared)} complete"
    published = [_published_mean(findings, method) for method in columns]
    rows.append([title, *(entry_text(table.means[m]) for m in table.methods), *map(number, published)])
    return head, rows


def entry_text(entry: Entry) -> str:
    """``0.873 ± 0.012``; what is missing is said."""
    if entry.mean is None:
        return "failed or not done" if entry.missing else NONE
    spread = f" ± {entry.spread:.3f}" if entry.spread is not None else ""
    missing = f" ({entry.seeds} of {entry.seeds + entry.missing} seeds)" if entry.missing else ""
    return f"{entry.mean:.3f}{spread}{missing}"


def number(value: float | None) -> str:
    """Three decimals."""
    return NONE if value is None else f"{value:.3f}"


def p_text(p: float | None) -> str:
    """A p value as text."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _published_mean(findings: Findings, method: Method) -> float | None:
    values = [findings.published.get((category, method)) for category in findings.table.categories]
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found and len(found) == len(values) else None
