"""Thresholds whose error rate is bounded for any distribution of scores, by split conformal prediction.

If the scores of n calibration images and of one new good image are exchangeable, the new one is among the k highest
of the n + 1 with probability at most k / (n + 1). So "more than the k-th highest calibration score" rejects at most
that share of good images. For one set of calibration images the true share is itself random: its distribution is
Beta(k, n + 1 - k) for continuous scores (and lower for scores with ties).

Source: V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005; V. Vovk, Conditional validity of
inductive conformal predictors, 2012.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from scipy import stats

from vtadl.errors import ConfigError, DataError

LEVEL = 0.95
"""Coverage of every interval."""


def images_needed(rate: float) -> int:
    """The fewest calibration images that support a rate: 19 for 5 %, 99 for 1 %."""
    return math.ceil(1 / _exact(rate)) - 1


def lowest_rate(count: int) -> float:
    """The lowest rate that so many calibration images support, rounded up: 0.143 for 6."""
    return math.ceil(1000 / (count + 1)) / 1000


def rank_of_rate(rate: float, count: int) -> int:
    """Which of ``count`` calibration scores, from the highest on, is the threshold for a rate.

    Raises:
        ConfigError: a rate outside (0, 1).
        DataError: so few images cannot support the rate.
    """
    rank = math.floor(_exact(rate) * (count + 1))
    if rank < 1:
        lowest = f"; {count} support {100 * lowest_rate(count):g} % at the lowest" if count else ""
        raise DataError(
            f"a rate of {100 * rate:g} % needs at least {images_needed(rate)} good images that were not trained on; "
            f"there are {count}{lowest}: add some with --add-good, or use --cross-fit"
        )
    return rank


def conformal_threshold(scores: Sequence[float], rate: float) -> float:
    """The lowest threshold that new good images exceed with probability at most ``rate``.

    Args:
        scores: of good images that the detector was not trained on.
        rate: in (0, 1).

    Raises:
        ConfigError: a rate outside (0, 1).
        DataError: so few scores cannot support the rate.
    """
    return sorted(scores)[-rank_of_rate(rate, len(scores))]


def rate_interval(rank: int, count: int) -> tuple[float, float]:
    """Where the true rate lies with probability `LEVEL`, when the threshold is the ``rank``-th highest score."""
    low, high = stats.beta.interval(LEVEL, rank, count + 1 - rank)
    return float(low), float(high)


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share that was counted as ``hits`` of ``count``, all independent."""
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def miss_threshold(defective: Sequence[float], rate: float) -> float:
    """The highest threshold that new defects of the same kinds fail to exceed with probability at most ``rate``.

    Args:
        defective: scores of labelled defects.
        rate: in (0, 1).

    Raises:
        ConfigError: a rate outside (0, 1).
        DataError: so few defects cannot support the rate.
    """
    rank = math.floor(_exact(rate) * (len(defective) + 1))
    if rank < 1:
        raise DataError(
            f"a miss rate of {100 * rate:g} % needs at least {images_needed(rate)} labelled defects; "
            f"there are {len(defective)}: give some with --labelled"
        )
    # A score at the threshold passes, and this one must not.
    return math.nextafter(sorted(defective)[rank - 1], -math.inf)


def cheapest_threshold(
    good: Sequence[float], defective: Sequence[float], *, miss_cost: float, defect_share: float
) -> float:
    """The threshold with the lowest cost a part on labelled images; of equals the lowest.

    Args:
        good: scores of good images.
        defective: scores of labelled defects.
        miss_cost: what a missed defect costs, in units of a rejected good part.
        defect_share: share of the line's parts that are defective, in (0, 1).

    Raises:
        ConfigError: a cost or a share that cannot be.
        DataError: no good or no defective images.
    """
    if not (math.isfinite(miss_cost) and miss_cost > 0):
        raise ConfigError(f"--miss-cost is {miss_cost:g}; expected more than 0, in units of a rejected good part")
    share = float(_exact(defect_share))
    if not good or not defective:
        raise DataError(
            f"a cost needs scores of good and of defective images; got {len(good)} good and {len(defective)} defective"
        )
    # One step below the lowest score rejects everything; each score itself lets it pass.
    candidates = sorted({*good, *defective})
    candidates = [math.nextafter(candidates[0], -math.inf), *candidates]
    good, defective = sorted(good), sorted(defective)

    def cost(threshold: float) -> float:
        above = math.nextafter(threshold, math.inf)
        rejected = 1 - bisect_left(good, above) / len(good)
        missed = bisect_left(defective, above) / len(defective)
        return (1 - share) * rejected + share * miss_cost * missed

    return min(candidates, key=cost)


def _exact(rate: float) -> Fraction:
    """The decimal number that was written: 0.29 * 100 is 29, not the 28.999... of binary fractions."""
    if not 0 < rate < 1:
        raise ConfigError(f"a rate of {rate:g} cannot be; expected a share between 0 and 1, such as 0.05")
    return Fraction(repr(float(rate)))
