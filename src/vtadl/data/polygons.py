"""Outlines and run lengths to masks, by one rule: a pixel belongs to a polygon if its centre lies inside.

The pixel in column x and row y covers x..x+1 and y..y+1, as in COCO, so a square from 2 to 6 is four pixels wide.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.data.decoding import MAX_PIXELS

MAX_POINTS = 100_000


def fill_polygon(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of one polygon; what an outline that crosses itself surrounds twice is outside.

    A polygon too thin to hold any pixel's centre marks the pixels that its corners lie in: a hairline is a defect too.

    Args:
        points: ``(P, 2)``, x and y of each corner in pixels.
        size: height and width of the image.

    Returns:
        ``(H, W)``.
    """
    height, width = size
    mask = np.zeros(size, dtype=np.bool_)
    top, bottom = (int(np.clip(np.floor(value), 0, height)) for value in (points[:, 1].min(), points[:, 1].max() + 1))
    if top < bottom:
        mask[top:bottom] = _inside(points, np.arange(top, bottom, dtype=np.float64) + 0.5, width)
    if not mask.any():
        columns, rows = np.floor(points).astype(np.int64).T
        seen = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        mask[rows[seen], columns[seen]] = True
    return mask


def _inside(points: NDArray[np.float64], centres: NDArray[np.float64], width: int) -> NDArray[np.bool_]:
    """For rows by the height of their centres, which pixels have their centre inside."""
    changes = np.zeros((len(centres), width + 1), dtype=np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        rows = np.flatnonzero((centres >= min(y0, y1)) & (centres < max(y0, y1)))
        crossing = x0 + (centres[rows] - y0) * ((x1 - x0) / (y1 - y0))
        # The first pixel whose centre lies right of the edge; beyond it, inside and outside change places.
        first = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        np.add.at(changes, (rows, first), 1)
    inside: NDArray[np.bool_] = changes[:, :width].cumsum(axis=1) % 2 == 1
    return inside


def polygon_of(points: Sequence[Any]) -> NDArray[np.float64]:
    """Corners as a file holds them.

    Args:
        points: ``[[x, y], ...]``, three at least.

    Returns:
        ``(P, 2)``.

    Raises:
        ValueError: no such list; too few or too many; or one far outside any image.
        TypeError: something else.
    """
    if not 3 <= len(points) <= MAX_POINTS:
        raise ValueError(f"a polygon of {len(points)} points")
    polygon = np.array([(float(x), float(y)) for x, y in points])
    if not (np.isfinite(polygon).all() and np.abs(polygon).max() <= MAX_PIXELS):
        raise ValueError("a point far outside the image")
    return polygon


def fill_runs(counts: Sequence[int] | str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask from COCO's run lengths: numbers of pixels off and on in turn, down the columns, plain or packed.

    Args:
        counts: the lengths, or COCO's string of them.
        size: height and width.

    Raises:
        ValueError: they do not sum to the image's pixels, or the string is none.

    Source: COCO's maskApi.c, ``rleFrString``.
    """
    lengths = _unpacked(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
        raise ValueError(f"run lengths that sum to {sum(lengths)}, not to {size[1]}x{size[0]} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    mask: NDArray[np.bool_] = np.repeat(values, lengths).reshape(size[::-1]).T
    return mask


def _unpacked(text: str) -> list[int]:
    """Each number is written in groups of five bits, lowest first, the last one signed, less the one two before it."""
    lengths: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the character {character!r} in packed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value, shift = 0, 0
    return lengths
