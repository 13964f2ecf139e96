"""Count how many of very many scores lie above each of a few: exact, by one sort."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vtadl.threads import thread_count

Scores = NDArray[np.floating]
Counts = NDArray[np.int64]

SMALL = 1 << 16
"""Up to this many scores, starting threads takes longer than the work."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def count_greater(values: Sequence[Scores], queries: Scores) -> tuple[Counts, Counts]:
    """How many of all values are larger than each query, and how many are at least as large.

    Args:
        values: float32 or float64 arrays of any shape, without NaN.
        queries: ``(K,)`` distinct scores, rising.

    Returns:
        Two ``(K,)`` arrays: the count of values ``> query`` and the count of values ``>= query``.
    """
    everything = np.concatenate([v.ravel() for v in values])
    everything.sort()
    return count_above(everything, queries), count_from(everything, queries)


def count_above(ordered: Scores, queries: Scores) -> Counts:
    """How many of some rising values are larger than each query."""
    return (len(ordered) - np.searchsorted(ordered, queries, side="right")).astype(np.int64)


def count_from(ordered: Scores, queries: Scores) -> Counts:
    """How many of some rising values are at least as large as each query."""
    return (len(ordered) - np.searchsorted(ordered, queries, side="left")).astype(np.int64)


def in_threads(work: Callable[[_Item], _Result], items: Sequence[_Item], scores: int) -> list[_Result]:
    """The results for all items, in order, worked out by up to four threads.

    Args:
        work: spends its time outside Python's lock.
        items: what it is called with.
        scores: how many are handled in all; for few, starting threads would take longer than the work.
    """
    if scores <= SMALL:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(thread_count(), 4)) as pool:
        return list(pool.map(work, items))
