"""Which values of 16-bit files a detector looks at: cameras of 10 or 12 bits and thermal ones fill a small part."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.data.images import has_16_bits, read_image

Range = tuple[int, int]
"""The values that count as black and as white."""

TOP = 65_535
BITS = (8, 10, 12, 14, 16)
SAMPLED = 100
"""Images whose values are looked at, at most."""
NARROW = 16
"""Values that fill less than such a part of their bits are taken for a measurement, such as a temperature: black and
white lie as far outside them as they are apart, halved."""


def measure_range(paths: Sequence[Path]) -> Range | None:
    """The range of the 16-bit files among some images; ``None`` where none is.

    It is that of the fewest bits that hold all values, or, where these fill little of it, their own with a margin.

    Raises:
        DataError: a file cannot be read.
    """
    step = max(-(-len(paths) // SAMPLED), 1)
    lows, highs = [], []
    for path in paths[::step]:
        if has_16_bits(path):
            image = read_image(path)
            lows.append(int(image.min()))
            highs.append(int(image.max()))
    if not lows:
        return None
    low, high = min(lows), max(highs)
    top = next(2**bits - 1 for bits in BITS if high < 2**bits)
    if high == low or (high - low) * NARROW >= top:
        return 0, top
    margin = max((high - low) // 2, 1)
    return max(low - margin, 0), min(high + margin, TOP)


def described(value_range: Range) -> str:
    """A range as a line says it."""
    low, high = value_range
    bits = next((bits for bits in BITS if (low, high) == (0, 2**bits - 1)), None)
    return f"16-bit files use {low}..{high}" + (f": {bits} bits?" if bits else "")


def in_range(image: NDArray[Any], value_range: Range | None) -> NDArray[Any]:
    """An image ``(H, W, 3)`` with its range stretched to all of 16 bits; what is outside is clipped. 8 bits stay."""
    if image.dtype != np.uint16 or value_range is None or value_range == (0, TOP):
        return image
    low, high = value_range
    shifted = np.clip(image.astype(np.float32) - np.float32(low), 0, high - low)
    stretched: NDArray[np.uint16] = np.rint(shifted * np.float32(TOP / (high - low))).astype(np.uint16)
    return stretched
