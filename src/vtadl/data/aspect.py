"""The shape that a set's images have in common: width by height, from the files' headers alone."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from vtadl.config.schema import SQUARE
from vtadl.data.images import image_size

SHARE = 0.9
"""Of the images that must be of about one shape."""
TOLERANCE = 0.05
"""How far an image's aspect may be from the median, as a share of it."""
NEARLY_SQUARE = 1.1
LONGEST = 10.0
"""As ``model.aspect`` allows."""


def common_aspect(paths: Sequence[Path]) -> float:
    """Width by height of the images, where nearly all are of one shape that is clearly no square; else 1.

    Args:
        paths: image files, one at least.

    Raises:
        DataError: a file is no image.
    """
    aspects = [width / height for height, width in map(image_size, paths)]
    median = statistics.median(aspects)
    alike = sum(abs(aspect - median) <= TOLERANCE * median for aspect in aspects)
    if alike < SHARE * len(aspects) or 1 / NEARLY_SQUARE <= median <= NEARLY_SQUARE:
        return SQUARE
    return round(min(max(median, 1 / LONGEST), LONGEST), 4)
