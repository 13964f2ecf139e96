"""How sure a metric is: bootstrap over images, good and defective ones apart.

Pixels of one image are not independent, so images are resampled and their pixels and regions follow. The interval is
``logit(metric) - bias +- t * error``: the bias is the bootstrap's, the standard error the jackknife's (which leaves out
each image in turn; the bootstrap's is too small for AP), both divided by ``metric * (1 - metric)``. The logit scale
keeps it in (0, 1). Near 1, and for F1Max, whose maximum is biased upward, it covers better than the percentiles of the
resampled metrics do. The rarer kind of image sets the degrees of freedom of t.

Sources: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993; C. Clopper and E. Pearson, 1934.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

CONFIDENCE = 0.95


def interval(
    metric: float,
    resampled: NDArray[np.float64],
    spread: float,
    is_good: NDArray[np.bool_],
) -> tuple[float, float] | None:
    """The interval of a metric in [0, 1] that covers the truth in `CONFIDENCE` of all test sets.

    Args:
        metric: its exact value.
        resampled: ``(S,)`` its values on resampled sets.
        spread: its standard error.
        is_good: ``(N,)`` which images were drawn from.

    Returns:
        ``None`` where one image alone is good, or defective: nothing is known of how such images differ. A perfect
        metric gets a one-sided bound (`perfect_bound`).
    """
    if not can_resample(is_good):
        return None
    if metric in (0.0, 1.0):
        bound = perfect_bound(is_good)
        return (bound, 1.0) if metric == 1.0 else (0.0, 1 - bound)
    slope = 1 / (metric * (1 - metric))  # of the logit at the metric
    half_width = stdtrit(fewest(is_good) - 1, (1 + CONFIDENCE) / 2) * spread * slope
    centre = logit(metric) - (np.nanmean(resampled) - metric) * slope
    low, high = expit(centre + half_width * np.array([-1, 1]))
    return min(float(low), metric), max(float(high), metric)


def perfect_bound(is_good: NDArray[np.bool_]) -> float:
    """What a metric that came out perfect surely exceeds.

    Good and defective images make ``n`` disjoint pairs, ``n`` the number of the rarer kind. All were perfect, so the
    share of perfect pairs exceeds ``(1 - CONFIDENCE) ** (1 / n)`` (Clopper-Pearson, one-sided), and the chance of a
    right order is at least that share. For AUROC the bound is exact; the other metrics borrow it.
    """
    return float((1 - CONFIDENCE) ** (1 / fewest(is_good)))


def can_resample(is_good: NDArray[np.bool_]) -> bool:
    """Whether no kind of image is there just once."""
    return fewest(is_good) > 1


def fewest(is_good: NDArray[np.bool_]) -> int:
    """The number of good or of defective images, whichever is smaller, of the kinds that are there."""
    return min((n for n in (int(is_good.sum()), int((~is_good).sum())) if n), default=0)
