"""All metrics of a test set at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.errors import ConfigError
from vtadl.metrics.aupro import pro_curve, region_aupro
from vtadl.metrics.breakdown import Breakdown, break_down
from vtadl.metrics.curves import (
    Curve,
    precision_recall_curve,
    ranked_auroc,
    ranked_average_precision,
    ranked_f1_max,
    roc_curve,
)
from vtadl.metrics.images import ScoredImage, check
from vtadl.metrics.intervals import interval
from vtadl.metrics.pixels import rank_pixels
from vtadl.metrics.ranking import Ranks, rank
from vtadl.metrics.resampling import Resampled, resample

LIMITS = (0.3, 0.05)
"""False positive rates that AUPRO runs to by default: the usual one and the strict one."""

Metrics = dict[str, float | None]
Intervals = dict[str, tuple[float, float] | None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known about a detector on a test set. A metric that cannot be computed is ``None``, never 0."""

    metrics: Metrics
    intervals: Intervals
    """At 95 %, from resampled images; ``None`` where there is no metric, or one image alone of a kind."""
    binning_error: float
    """The most by which a metric on the bins that the resampling uses differs from the exact one."""
    curves: dict[str, Curve]
    """``image_ROC``, ``image_PR``, ``pixel_ROC``, ``pixel_PR``, ``pixel_PRO``, as far as they exist."""
    resampled: dict[str, NDArray[np.float64]]
    """``(S,)`` for each metric that exists, its values on resampled sets: the same draws of the same images for every
    detector, so that two of them can be compared pair by pair (`vtadl.metrics.comparison`)."""
    thresholds: dict[str, float | None]
    """``image`` and ``pixel``: the scores that reach F1Max. They are chosen on the test set, so only for looking."""
    breakdown: Breakdown


def evaluate(
    images: Sequence[ScoredImage],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    limits: Sequence[float] = LIMITS,
    pixel_threshold: float | None = None,
) -> Evaluation:
    """Compute every metric of a set of scored images, exactly.

    Args:
        images: the whole test set, good and defective.
        bootstrap: resamples for the intervals; 0 leaves them out.
        seed: of the resampling.
        limits: false positive rates in (0, 1] that AUPRO runs to.
        pixel_threshold: the operating threshold that regions' recall is taken at; ``None``: the one of F1Max.

    Raises:
        ConfigError: a limit or a number of resamples that cannot be.
        DataError: a NaN, or a mask that does not fit its map; the message names the image.
    """
    _check_settings(limits, bootstrap)
    check(images)
    scores = np.array([i.score for i in images], dtype=np.float64)
    is_good = np.array([i.is_good for i in images], dtype=bool)
    both_kinds = bool(is_good.any() and not is_good.all())
    metrics, curves, thresholds = _ranked("image", rank(scores[is_good], scores[~is_good]) if both_kinds else None)
    pixels = rank_pixels(images)
    pixel_metrics, pixel_curves, pixel_thresholds = _ranked("pixel", pixels.ranks if pixels else None)
    for limit in limits:
        pixel_metrics[f"pixel_AUPRO@{limit:g}"] = float(region_aupro(pixels, limit).mean()) if pixels else None
    if pixels:
        pixel_curves["pixel_PRO"] = pro_curve(pixels)
    metrics |= pixel_metrics
    thresholds |= pixel_thresholds
    resampled = resample(images, pixels, limits, bootstrap, seed) if bootstrap else None
    return Evaluation(
        metrics=metrics,
        intervals=_intervals(metrics, resampled, is_good),
        binning_error=_binning_error(metrics, resampled),
        curves=curves | pixel_curves,
        resampled=resampled.metrics if resampled else {},
        thresholds=thresholds,
        breakdown=break_down(
            images, pixels, limits, thresholds["pixel"] if pixel_threshold is None else pixel_threshold
        ),
    )


def _check_settings(limits: Sequence[float], bootstrap: int) -> None:
    for limit in limits:
        if not 0 < limit <= 1:
            raise ConfigError(f"AUPRO's limit is {limit}; expected a false positive rate above 0 and up to 1")
    if bootstrap < 0:
        raise ConfigError(f"bootstrap is {bootstrap}; expected a number of resamples, or 0 for no intervals")


def _intervals(metrics: Metrics, resampled: Resampled | None, is_good: NDArray[np.bool_]) -> Intervals:
    found: Intervals = dict.fromkeys(metrics)
    for name, value in metrics.items():
        if value is not None and resampled is not None:
            found[name] = interval(value, resampled.metrics[name], resampled.spread[name], is_good)
    return found


def _binning_error(metrics: Metrics, resampled: Resampled | None) -> float:
    if resampled is None:
        return 0.0
    return max((abs(resampled.whole[k] - v) for k, v in metrics.items() if v is not None), default=0.0)


def _ranked(level: str, ranks: Ranks | None) -> tuple[Metrics, dict[str, Curve], dict[str, float | None]]:
    names = (f"{level}_AUROC", f"{level}_AP", f"{level}_F1Max")
    if ranks is None:
        return dict.fromkeys(names), {}, {level: None}
    best, threshold = ranked_f1_max(ranks)
    metrics = dict(zip(names, (ranked_auroc(ranks), ranked_average_precision(ranks), best), strict=True))
    curves = {f"{level}_ROC": roc_curve(ranks), f"{level}_PR": precision_recall_curve(ranks)}
    return {**metrics}, curves, {level: threshold}
