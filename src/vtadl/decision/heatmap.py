"""Anomaly maps as pictures: colour over a grey photo, on one scale for a whole run, so that good parts look calm.

The scale is logarithmic in the distance from a calm pixel's score. Colour begins at a score that nine of ten good
images never reach, and a faint scratch as well as a missing part, scored ten times as high, has a shape inside.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RANGE = 6.0
"""The top of the scale is this many times as far above a calm pixel as the score where colour begins."""
GOOD_WITHOUT_COLOUR = 0.9
"""Share of the good images in which no pixel is coloured."""
ANCHORS = (
    (0.00, (255, 232, 110)),
    (0.25, (255, 176, 36)),
    (0.50, (240, 96, 24)),
    (0.75, (204, 20, 50)),
    (1.00, (120, 0, 80)),
)
"""Position on the scale and colour; darker is more abnormal, so that it reads without colour vision too."""
OPACITY = 0.85
FULL_FROM = 0.15
"""Position from which colour has its full opacity."""
BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Of cameras whose images come as 16 bits a channel."""


def colour_scale(calm: Sequence[float], scores: Sequence[float]) -> tuple[float, float]:
    """The ends of a run's scale, from good images.

    Args:
        calm: the score of a typical pixel of each image.
        scores: the highest score of each image.

    Returns:
        ``(low, high)``: the score of a calm pixel, and the one that has the last colour.
    """
    low, limit = float(np.median(calm)), float(np.quantile(scores, GOOD_WITHOUT_COLOUR))
    # Where good images score all the same, any scale is arbitrary, but it must not be empty.
    span = max(limit - low, 1e-6 * max(abs(low), abs(limit))) or 1.0
    return low, low + RANGE * span


def positions(scores: NDArray[np.floating], low: float, high: float) -> NDArray[np.float32]:
    """Where scores stand on the scale: up to 0 no colour, from 1 on the last one; clipped to [0, 1]."""
    ratio = np.maximum((scores - low) / (high - low), np.float32(1 / RANGE))
    clipped: NDArray[np.float32] = np.minimum(1 + np.log(ratio) / math.log(RANGE), 1).astype(np.float32)
    return clipped


def score_at(position: float, low: float, high: float) -> float:
    """The score at a position of the scale: the inverse of `positions`, without the clipping."""
    return low + (high - low) * math.pow(RANGE, position - 1)


def colours(positions_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(..., 3)`` colours in [0, 255] of positions in [0, 1]."""
    places = [place for place, _ in ANCHORS]
    channels = [np.interp(positions_HW, places, [colour[c] for _, colour in ANCHORS]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def opacities(positions_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of the photo the colour hides: 0 at position 0, `OPACITY` from `FULL_FROM` on."""
    rise = np.minimum(positions_HW / FULL_FROM, 1)
    shares: NDArray[np.float32] = (OPACITY * rise * rise * (3 - 2 * rise)).astype(np.float32)
    return shares


def overlay(
    image: NDArray[Any],
    anomaly_map: NDArray[np.float32],
    low: float,
    high: float,
    roi_mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The photo in grey, its abnormal parts coloured.

    Args:
        image: ``(H, W, 3)`` uint8 or uint16.
        anomaly_map: ``(H, W)``.
        low: score of a calm pixel.
        high: score of the last colour.
        roi_mask: ``(H, W)``, false where nothing counts and so nothing is coloured; ``None``: everything does.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    picture = Image.fromarray(eight_bit(image)).convert("L").convert("RGB")
    blended = np.array(picture)
    places = positions(anomaly_map, low, high)
    # Most pixels of most images have no colour: blend only those that have.
    coloured = places > 0 if roi_mask is None else roi_mask & (places > 0)
    weight = opacities(places[coloured])[:, None]
    mixed = blended[coloured] * (1 - weight) + colours(places[coloured]) * weight
    blended[coloured] = mixed.round().astype(np.uint8)
    return blended


def eight_bit(image: NDArray[Any]) -> NDArray[np.uint8]:
    """A uint8 or uint16 image as uint8, to look at.

    A camera of 12 bits fills a sixteenth of the 16-bit range: the fewest usual bits that hold the image are its white.
    """
    if image.dtype == np.uint8:
        return image
    bits = next(bits for bits in BIT_DEPTHS if int(image.max()) < 1 << bits)
    return (image >> (bits - 8)).astype(np.uint8)


def shrunk(image: NDArray[Any], side: int) -> NDArray[np.uint8]:
    """A uint8 or uint16 image with its longer side at most ``side`` pixels, as uint8."""
    picture = Image.fromarray(eight_bit(image))
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(picture)
