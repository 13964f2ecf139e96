"""Is one method better than another? Paired tests: over categories, and over the images of one category."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from vtadl.compare.outcomes import Outcome
from vtadl.compare.tables import Method, Table, method_of
from vtadl.data.layouts import GOOD
from vtadl.metrics.comparison import Comparison, compare_resampled
from vtadl.metrics.intervals import can_resample

FEWEST_CATEGORIES = 6
"""With five, even five differences of one sign have a two-sided p of 2 / 2^5 = 0.06."""

Draws = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class AcrossCategories:
    """Two methods over categories, seeds averaged."""

    first: Method
    second: Method
    categories: int
    difference: float | None
    """Mean of ``first - second``."""
    wins: int
    """Categories in which the first is higher."""
    p: float | None
    """Two-sided, of the signed-rank test, before the correction."""
    p_holm: float | None
    """Corrected for the number of pairs that were tested."""
    why: str
    """The reason why there is no p; empty where there is one."""


@dataclass(frozen=True, kw_only=True)
class WithinCategory:
    """Two methods on the images of one category, seeds averaged."""

    category: str
    first: Method
    second: Method
    comparison: Comparison | None
    why: str
    """The reason why there is none; empty where there is one."""


def across_categories(table: Table) -> list[AcrossCategories]:
    """Every pair of methods: Wilcoxon's signed-rank test over categories, corrected by Holm's procedure.

    Sources: J. Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006; S. Holm, A Simple
    Sequentially Rejective Multiple Test Procedure, 1979.
    """
    tested = [_across(table, first, second) for first, second in combinations(table.methods, 2)]
    corrected = iter(holm([pair.p for pair in tested if pair.p is not None]))
    return [replace(pair, p_holm=next(corrected)) if pair.p is not None else pair for pair in tested]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p values, in the order given."""
    count, corrected, highest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        highest = max(highest, min((count - rank) * p_values[index], 1.0))
        corrected[index] = highest
    return corrected


def within_categories(
    outcomes: Sequence[Outcome], table: Table, draws: Callable[[Outcome], Draws]
) -> list[WithinCategory]:
    """Every pair of methods in every category: the paired bootstrap over images of the seeds' mean metrics.

    ``draws`` gives a done cell's metrics on resampled test sets.
    """
    found = []
    for category in table.categories:
        here = {
            method: [o for o in outcomes if o.category == category and method_of(o) == method and o.status == "done"]
            for method in table.methods
        }
        means = {
            method: np.mean([draws(outcome)[table.metric] for outcome in done], axis=0)
            for method, done in here.items()
            if table.entries[category, method].complete
        }
        for first, second in combinations(table.methods, 2):
            comparison, why = _within(table, category, first, second, means, here[first] + here[second])
            found.append(WithinCategory(category=category, first=first, second=second, comparison=comparison, why=why))
    return found


def _across(table: Table, first: Method, second: Method) -> AcrossCategories:
    pairs = [
        (a.mean, b.mean)
        for category in table.categories
        for a, b in [(table.entries[category, first], table.entries[category, second])]
        if a.complete and b.complete and a.mean is not None and b.mean is not None
    ]
    differences = np.array([a - b for a, b in pairs])
    p, why = None, ""
    if len(pairs) < FEWEST_CATEGORIES:
        why = f"a two-sided p below 0.05 needs {FEWEST_CATEGORIES} categories"
    else:
        p = signed_rank_p(differences)
    return AcrossCategories(
        first=first,
        second=second,
        categories=len(pairs),
        difference=float(differences.mean()) if pairs else None,
        wins=int((differences > 0).sum()),
        p=p,
        p_holm=None,
        why=why,
    )


def signed_rank_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; pairs without a difference say nothing and are left out."""
    moved = differences[differences != 0]
    if moved.size == 0:
        return 1.0
    return float(wilcoxon(moved).pvalue)


def _within(
    table: Table,
    category: str,
    first: Method,
    second: Method,
    means: dict[Method, NDArray[np.float64]],
    outcomes: Sequence[Outcome],
) -> tuple[Comparison | None, str]:
    if first not in means or second not in means:
        return None, "a cell failed, is not done, or lacks the metric"
    images = [(name, label) for name, label, _ in outcomes[0].images]
    if any([(name, label) for name, label, _ in outcome.images] != images for outcome in outcomes):
        return None, "the cells were evaluated on different images"
    is_good = np.array([label == GOOD for _, label in images], dtype=bool)
    if not can_resample(is_good):
        return None, "only one image of a kind: nothing is known of how such images differ"
    a, b = table.entries[category, first].mean, table.entries[category, second].mean
    assert a is not None and b is not None, "complete entries have a mean"
    return compare_resampled(a, b, means[first], means[second], is_good), ""
