"""Per-region overlap (PRO): the area under it for each region, and the curve.

AUPRO is a mean over regions of the area under each region's own curve, and that area is a sum over the region's pixels:
a pixel that becomes covered while the false positive rate runs from a to b adds the area to the right of that ramp.
So one rank for each defective pixel is all that is needed, and every breakdown is another mean of the same areas.
Where covering s pixels of a region is enough (saturated PRO), only its s highest scores count, each for 1/s.

Sources: P. Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 6; P. Bergmann et al., Beyond Dents
and Scratches, IJCV 2022, section 4 (saturation).
"""

import numpy as np
from numpy.typing import NDArray

from vtadl.metrics.curves import Curve, step_curve
from vtadl.metrics.pixels import PixelRanks


def region_aupro(pixels: PixelRanks, limit: float) -> NDArray[np.float64]:
    """Area under each region's overlap up to a false positive rate, divided by it.

    Args:
        pixels: the ranked pixels of the whole set.
        limit: in (0, 1]; the curve is interpolated linearly there.

    Returns:
        ``(R,)`` in [0, 1]; their mean is the set's AUPRO.
    """
    ranks = pixels.ranks
    start, end = ranks.negatives_above / ranks.n_negatives, ranks.negatives_from / ranks.n_negatives
    areas = ramp_areas(start, end, limit)[pixels.rank_of_pixel[pixels.counted]]
    sums = np.bincount(pixels.region_of_counted, weights=areas, minlength=len(pixels.region_counts))
    return sums / pixels.region_counts


def pro_curve(pixels: PixelRanks) -> Curve:
    """Mean overlap over all regions (y) against the false positive rate over all defect-free pixels (x)."""
    weights = (1 / pixels.region_counts)[pixels.region_of_counted]
    ranks = pixels.rank_of_pixel[pixels.counted]
    gained = np.bincount(ranks, weights=weights, minlength=len(pixels.ranks.scores))
    return step_curve(pixels.ranks, np.cumsum(gained) / len(pixels.region_counts))


def ramp_areas(start: NDArray[np.float64], end: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Area up to ``limit``, divided by it, below a ramp that rises from 0 to 1 between two false positive rates.

    A threshold spans the rates of the defect-free pixels that share its score; where none does, its ramp is a step.
    """
    whole = limit - (start + end) / 2
    cut = np.square(np.maximum(limit - start, 0)) / np.maximum(2 * (end - start), np.finfo(np.float64).tiny)
    areas: NDArray[np.float64] = np.where(end <= limit, whole, cut) / limit
    return areas
