"""Defect regions: the connected parts of an anomaly map above a threshold. NumPy alone, so that any runtime shares
it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Region:
    """One connected part of an image that scores above the pixel threshold."""

    area: int
    """Pixels of the image."""
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels; right and bottom are the first column and row outside."""
    peak: tuple[int, int]
    """Column and row of its highest score."""
    score: float
    """Its highest score."""


def find_regions(
    anomaly_map: NDArray[np.float32], threshold: float, roi_mask: NDArray[np.bool_] | None = None
) -> tuple[Region, ...]:
    """The 8-connected regions above a threshold, the highest score first.

    Args:
        anomaly_map: ``(H, W)``.
        threshold: a region's pixels score more than this.
        roi_mask: ``(H, W)``, false where nothing counts; ``None``: everything does.
    """
    mask = anomaly_map > threshold
    if roi_mask is not None:
        mask &= roi_mask
    if not mask.any():
        return ()
    starts, ends, width = _runs(mask)
    labels, count = _components(starts, ends, width)
    lengths, rows, columns = ends - starts, starts // width, starts % width
    areas = np.bincount(labels, weights=lengths, minlength=count).astype(int)
    left, top = (_extreme(np.minimum, labels, values, count) for values in (columns, rows))
    right, bottom = (_extreme(np.maximum, labels, values, count) for values in (columns + lengths, rows + 1))
    peaks = _peaks(anomaly_map, mask, np.repeat(labels, lengths), count)
    regions = [
        Region(
            area=int(areas[i]),
            box=(int(left[i]), int(top[i]), int(right[i]), int(bottom[i])),
            peak=(int(peaks[i] % mask.shape[1]), int(peaks[i] // mask.shape[1])),
            score=float(anomaly_map.flat[peaks[i]]),
        )
        for i in range(count)
    ]
    return tuple(sorted(regions, key=lambda region: (-region.score, region.peak)))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that touch its outside by a side; the image's border counts as outside."""
    framed = np.pad(mask, 1)
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    edge: NDArray[np.bool_] = mask & ~inner
    return edge


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any], int]:
    """First and first-not pixel of each horizontal run, in a raster with a column of gaps at the right."""
    width = mask.shape[1] + 1
    padded = np.zeros((mask.shape[0], width), np.int8)
    padded[:, :-1] = mask
    steps = np.diff(padded.ravel(), prepend=0)
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), width


def _components(starts: NDArray[Any], ends: NDArray[Any], width: int) -> tuple[NDArray[Any], int]:
    """The region of each run. Runs of neighbouring rows touch if they overlap or meet at a corner."""
    first = np.searchsorted(ends, starts + width, side="left")
    counts = np.searchsorted(starts, ends + width, side="right") - first
    above = np.repeat(np.arange(len(starts)), counts)
    below = np.arange(len(above)) - np.repeat(np.cumsum(counts) - counts, counts) + first[above]
    roots = np.arange(len(starts))
    while True:
        a, b = roots[above], roots[below]
        if np.array_equal(a, b):
            break
        np.minimum.at(roots, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(roots, roots[roots]):
            roots = roots[roots]
    names, labels = np.unique(roots, return_inverse=True)
    return labels, len(names)


def _extreme(function: np.ufunc, labels: NDArray[Any], values: NDArray[Any], count: int) -> NDArray[Any]:
    found = np.full(count, values[0])
    found[labels] = values  # any value of each region to start from
    function.at(found, labels, values)
    return found


def _peaks(
    anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_], labels: NDArray[Any], count: int
) -> NDArray[np.int64]:
    """Flat index of the highest score of each region, the first of equals."""
    pixels = np.flatnonzero(mask)
    scores = anomaly_map.ravel()[pixels]
    highest = _extreme(np.maximum, labels, scores, count)
    candidates = np.flatnonzero(scores == highest[labels])
    _, first = np.unique(labels[candidates], return_index=True)
    found: NDArray[np.int64] = pixels[candidates[first]]
    return found
