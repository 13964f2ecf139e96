"""Count how many of very many scores lie above each of a few: exact, without sorting the many.

Scores become unsigned integers of the same order. A counting sort puts them into some hundred groups of neighbouring
values; within a group a histogram of up to 65,536 cells counts all but the scores that share a cell with a query, and
only those are sorted. Work is linear in the scores, and all of it is done by NumPy and SciPy outside Python's lock.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vtadl.threads import thread_count

Scores = NDArray[np.floating]
Counts = NDArray[np.int64]
Keys = NDArray[np.unsignedinteger[Any]]

SMALL = 1 << 16
"""Up to this many scores a plain sort is faster than anything else."""
GROUP = 1 << 17
"""Scores in a group, about; a group then stays in a core's cache."""
BLOCK = (1 << 18, 1 << 20)
"""Fewest and most scores that a thread takes at once; a thirty-second of all between them, to bound the memory."""
CELLS = 1 << 16

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
    if sum(v.size for v in values) <= SMALL or queries.size == 0:
        ordered = np.sort(np.concatenate([v.ravel() for v in values])) if values else np.empty(0)
        return _above_and_from(ordered, queries)
    return count_by_groups(values, queries)


def count_by_groups(values: Sequence[Scores], queries: Scores, group: int = GROUP) -> tuple[Counts, Counts]:
    """`count_greater` for many scores, in groups of about ``group``."""
    total = sum(v.size for v in values)
    dtype = np.result_type(*values, queries)
    groups = _balanced_groups(values, dtype, group)
    blocks = in_threads(lambda block: _distribute(block, dtype, groups), list(_blocks(values)), total)
    query_keys = order_keys(queries.astype(dtype))
    edges = np.searchsorted(
        groups.of(query_keys.clip(groups.lowest, groups.highest)), np.arange(groups.count + 1)
    ).tolist()

    def count_group(g: int) -> tuple[int, Counts, Counts]:
        pieces = [keys[starts[g] : starts[g + 1]] for keys, starts in blocks]
        return sum(map(len, pieces)), *_count_in_group(pieces, query_keys[edges[g] : edges[g + 1]], *groups.range(g))

    sizes, above, at_least = zip(*in_threads(count_group, range(groups.count), total), strict=True)
    in_higher_groups = np.repeat(np.cumsum(sizes[::-1])[::-1] - sizes, np.diff(edges))
    return in_higher_groups + np.concatenate(above), in_higher_groups + np.concatenate(at_least)


def order_keys(scores: Scores) -> Keys:
    """Unsigned integers that order, and tie, exactly as the scores do: -inf first, -0.0 equal to 0.0, inf last.

    Args:
        scores: float32 or float64 without NaN; a contiguous copy is made.
    """
    # Adding zero turns -0.0 into 0.0. Then a negative float's bits fall as it rises, and a positive one's rise.
    if scores.dtype == np.float32:
        return _flipped((scores + np.float32(0)).view(np.int32)).view(np.uint32)
    return _flipped((scores + np.float64(0)).view(np.int64)).view(np.uint64)


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


def _blocks(values: Sequence[Scores]) -> Iterator[list[Scores]]:
    size = min(max(sum(v.size for v in values) // 32, BLOCK[0]), BLOCK[1])
    block: list[Scores] = []
    for array in values:
        flat = array.ravel()
        for start in range(0, flat.size, size):
            block.append(flat[start : start + size])
            if sum(map(len, block)) >= size:
                yield block
                block = []
    if block:
        yield block


@dataclass(frozen=True)
class _Groups:
    """Which group a key belongs to: a table over the leading 16 bits of its distance from the lowest key."""

    lowest: np.unsignedinteger
    highest: np.unsignedinteger
    shift: np.unsignedinteger
    table: NDArray[np.int32]
    """``(65536,)``, rising."""

    @property
    def count(self) -> int:
        return int(self.table[-1]) + 1

    def range(self, group: int) -> tuple[np.unsignedinteger, np.unsignedinteger]:
        """The lowest and the highest key that a group may hold."""
        first, after = np.searchsorted(self.table, [group, group + 1])
        distance = (int(after) << int(self.shift)) - 1
        highest = min(int(self.lowest) + distance, int(self.highest))
        return self.lowest + (type(self.lowest)(first) << self.shift), type(self.lowest)(highest)

    def of(self, keys: Keys) -> NDArray[np.int32]:
        """The group of each key; keys must lie within the values' range."""
        prefixes = ((keys - self.lowest) >> self.shift).astype(np.intp)
        groups: NDArray[np.int32] = self.table.take(prefixes)
        return groups


def _balanced_groups(values: Sequence[Scores], dtype: np.dtype[np.floating], group: int) -> _Groups:
    """Groups of about ``group`` scores each, balanced by a sample of them."""
    extremes = order_keys(np.array([(v.min(), v.max()) for v in values if v.size], dtype=dtype))
    lowest, highest = extremes.min(), extremes.max()
    shift = type(lowest)(max(int(highest - lowest).bit_length() - 16, 0))
    total = sum(v.size for v in values)
    step = max(total // CELLS, 1) | 1
    sample = order_keys(np.concatenate([v.ravel()[::step] for v in values]).astype(dtype))
    below = np.cumsum(np.bincount(((sample - lowest) >> shift).astype(np.intp), minlength=CELLS))
    ids = (below - 1).clip(min=0) * min(max(total // group, 1), 1024) // below[-1]
    return _Groups(lowest, highest, shift, np.cumsum(np.diff(ids, prepend=ids[0]) > 0, dtype=np.int32))


def _distribute(block: list[Scores], dtype: np.dtype[np.floating], groups: _Groups) -> tuple[Keys, list[int]]:
    """The block's keys, group after group, and where each group starts."""
    keys = order_keys(np.concatenate(block).astype(dtype, copy=False))
    # Turning compressed rows into compressed columns is a counting sort in C++; the groups play the columns.
    ends = np.array([0, len(keys)], dtype=np.int32)
    by_group = sparse.csr_array((keys, groups.of(keys), ends), shape=(1, groups.count)).tocsc()
    return by_group.data, by_group.indptr.tolist()


def _count_in_group(
    pieces: Sequence[Keys], queries: Keys, start: np.unsignedinteger, last: np.unsignedinteger
) -> tuple[Counts, Counts]:
    """Counts within one group, whose keys run from ``start`` to ``last``."""
    if queries.size == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    shift = type(start)(max(int(last - start).bit_length() - 16, 0))
    n_cells = int((last - start) >> shift) + 1
    inside = queries.clip(start, last)
    query_cells = (inside - start) >> shift
    shared = np.zeros(n_cells, dtype=bool)
    # A cell of one key is settled by its histogram, but not for a query outside the group's range.
    shared[query_cells if shift > 0 else query_cells[inside != queries]] = True
    counts, unsettled = np.zeros(n_cells, dtype=np.int64), [queries[:0]]
    for keys in _joined(pieces):
        cells = ((keys - start) >> shift).astype(np.intp)
        counts += np.bincount(cells, minlength=n_cells)
        unsettled.append(keys[shared[cells]])
    counts[shared] = 0
    settled_from = np.cumsum(counts[::-1])[::-1]
    above, at_least = _above_and_from(np.sort(np.concatenate(unsettled)), queries)
    return above + (settled_from - counts)[query_cells], at_least + settled_from[query_cells]


def _joined(pieces: Sequence[Keys]) -> Iterator[Keys]:
    """The pieces in arrays of a size that bounds the memory used for a group that ties have made huge."""
    ends = np.cumsum([p.size for p in pieces])
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] + BLOCK[1], BLOCK[1])).tolist() if len(pieces) else []
    for first, last in pairwise([*cuts, len(pieces)]):
        if last > first:
            joined: Keys = np.concatenate(pieces[first:last])
            yield joined


def _flipped(bits: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    flip = bits >> (bits.dtype.itemsize * 8 - 1)
    flip |= np.iinfo(bits.dtype).min
    flip ^= bits
    return flip


def _above_and_from(ordered: NDArray[np.generic], queries: NDArray[np.generic]) -> tuple[Counts, Counts]:
    above = len(ordered) - np.searchsorted(ordered, queries, side="right")
    at_least = len(ordered) - np.searchsorted(ordered, queries, side="left")
    return above.astype(np.int64), at_least.astype(np.int64)
