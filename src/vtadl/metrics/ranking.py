"""Where the positives stand among the negatives: the integer counts that every metric is a function of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.metrics.counting import count_greater


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The distinct scores of the positives, falling, and how many positives and negatives stand at and above each.

    Thresholds between two of them change no metric: recall stays, and only false positives are added.
    """

    scores: NDArray[np.floating] | NDArray[np.integer]
    """``(K,)`` distinct scores of the positives, or bins of scores, falling."""
    positives: NDArray[np.int64]
    """``(K,)`` positives that have exactly this score."""
    negatives_above: NDArray[np.int64]
    """``(K,)`` negatives with a larger score."""
    negatives_from: NDArray[np.int64]
    """``(K,)`` negatives with this score or a larger one."""
    n_positives: int
    n_negatives: int


def rank(negatives: NDArray[np.floating], positives: NDArray[np.floating]) -> Ranks:
    """Rank two sets of scores against each other, ties merged.

    Args:
        negatives: ``(n,)`` scores without NaN; infinities are ordered like any number.
        positives: ``(m,)`` the same.
    """
    scores, counts = np.unique(positives, return_counts=True)
    above, at_least = count_greater([negatives], scores)
    return Ranks(
        scores=scores[::-1],
        positives=counts[::-1].astype(np.int64),
        negatives_above=above[::-1],
        negatives_from=at_least[::-1],
        n_positives=len(positives),
        n_negatives=len(negatives),
    )
