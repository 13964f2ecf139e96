"""How an image looks as a whole, in three numbers that tell lighting and focus apart from the product."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLED_PIXELS = 250_000
"""Of larger images only so many pixels are looked at, in evenly spaced whole rows and columns."""
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


class Appearance(NamedTuple):
    """Simple statistics of an image."""

    brightness: float
    """Mean grey value, in [0, 1]."""
    contrast: float
    """Standard deviation of the grey values, in [0, 0.5]."""
    sharpness: float
    """Mean squared difference of neighbours over twice the variance: 0 for a flat image, 1 for white noise. It does
    not change when the lighting's strength does, and falls when the image is blurred."""


def measure_appearance(image: NDArray[Any]) -> Appearance:
    """Measure an image, ``(H, W, 3)`` uint8 or uint16, at its own size: focus is lost first in the finest detail."""
    step = max(1, image.shape[0] * image.shape[1] // SAMPLED_PIXELS)
    rows, columns = _grey(image[step // 2 :: step]), _grey(image[:, step // 2 :: step])
    if not rows.size or not columns.size:
        rows = columns = _grey(image)
    variance = float(rows.var())
    differences = [np.diff(grey, axis=axis) for grey, axis in ((rows, 1), (columns, 0))]
    squares = [float(np.square(d).mean()) for d in differences if d.size]
    sharpness = float(np.mean(squares)) / (2 * variance) if squares and variance > 1e-12 else 0.0
    return Appearance(float(rows.mean()), variance**0.5, sharpness)


def _grey(image: NDArray[Any]) -> NDArray[np.float32]:
    weights = np.asarray(GREY, np.float32) / np.float32(np.iinfo(image.dtype).max)
    grey: NDArray[np.float32] = image.astype(np.float32) @ weights
    return grey
