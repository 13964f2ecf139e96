"""How far metrics of binned scores can be from those of the scores themselves.

A bin is a tie that may hide an order: its positives may all come before its negatives, or all after. Both extremes
bound what any order, with or without ties, can give.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.metrics.aupro import ramp_areas
from vtadl.metrics.curves import auroc, average_precision, f1_max
from vtadl.metrics.ranking import Ranks

_ROUNDING = 2.0**-35
"""More than float sums, and overlaps in units of 2^-36 of a region, can be off together."""


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """A metric whose exact value is known to lie in [low, high]."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The most that ``value`` can be off."""
        return max(self.value - self.low, self.high - self.value)


def bounded_auroc(bins: Ranks) -> Bounded:
    """AUROC, half of the pairs within a bin counted as won."""
    share = bins.positives / bins.n_positives
    lost = share @ (bins.negatives_above / bins.n_negatives)
    lost_at_most = share @ (bins.negatives_from / bins.n_negatives)
    return _bounded(auroc(bins), float(1 - lost_at_most), float(1 - lost))


def bounded_average_precision(bins: Ranks) -> Bounded:
    """AP, bins taken as ties."""
    share = bins.positives / bins.n_positives
    true = np.cumsum(bins.positives)
    high = float(share @ (true / (true + bins.negatives_above)))
    # Negatives first: precision then rises concavely over the bin's positives, so its chord is a lower bound.
    first = true - bins.positives + 1
    low = share @ (first / (first + bins.negatives_from) + true / (true + bins.negatives_from)) / 2
    return _bounded(average_precision(bins), float(low), high)


def bounded_f1_max(bins: Ranks) -> Bounded:
    """F1Max over the thresholds between bins."""
    value, _ = f1_max(bins)
    true = np.cumsum(bins.positives)
    return _bounded(value, value, float((2 * true / (true + bins.negatives_above + bins.n_positives)).max()))


def bounded_aupro(bins: Ranks, overlap: NDArray[np.float64], limit: float) -> Bounded:
    """AUPRO to a limit; ``overlap`` is the ``(K,)`` share of all regions' overlap that each bin adds."""
    start, end = bins.negatives_above / bins.n_negatives, bins.negatives_from / bins.n_negatives
    low, high = (float(overlap @ np.maximum(limit - rate, 0)) / limit for rate in (end, start))
    return _bounded(float(overlap @ ramp_areas(start, end, limit)), low, high)


def _bounded(value: float, low: float, high: float) -> Bounded:
    return Bounded(value=value, low=max(low - _ROUNDING, 0.0), high=min(high + _ROUNDING, 1.0))
