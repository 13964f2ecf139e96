"""Regions of the ground truth: connected components with 8-connectivity."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CONNECTIVITY = 8
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def label_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which pixels are defective, and to which region each belongs.

    Args:
        mask: ``(H, W)``.

    Returns:
        ``(P,)`` flat positions of the true pixels in reading order, and ``(P,)`` the region of each, counted from 0.
    """
    positions = np.flatnonzero(mask)
    if positions.size == 0:
        return positions, positions
    rows, columns = np.divmod(positions, mask.shape[1])
    # Defects are small: labelling their bounding box alone is several times faster than labelling the image.
    top, left, right = rows[0], columns.min(), columns.max()
    labels, _ = ndimage.label(mask[top : rows[-1] + 1, left : right + 1], structure=_NEIGHBOURS)
    return positions, labels[rows - top, columns - left].astype(np.int64) - 1
