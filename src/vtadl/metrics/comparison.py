"""Is one detector better than another? Both are resampled on the same images, so that what they share cancels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from vtadl.errors import DataError
from vtadl.metrics.evaluation import LIMITS, Evaluation, evaluate
from vtadl.metrics.images import ScoredImage
from vtadl.metrics.intervals import CONFIDENCE, can_resample, fewest, perfect_bound


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of two detectors on the same images."""

    first: float
    second: float
    difference: float
    """``first - second``."""
    interval: tuple[float, float]
    """Of the difference, at 95 %."""
    p: float
    """Two-sided: how often chance alone makes a difference this large; below 0.05 where the interval excludes 0."""


def compare_metrics(
    first: Sequence[ScoredImage],
    second: Sequence[ScoredImage],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    limits: Sequence[float] = LIMITS,
) -> dict[str, Comparison | None]:
    """Compare two detectors' scores of the same images, metric by metric.

    Returns:
        For each metric a comparison; ``None`` where either lacks the metric, or one image alone of a kind is there.

    Raises:
        DataError: the two do not score the same images, or what `evaluate` refuses.
    """
    first, second = (sorted(images, key=lambda i: i.name) for images in (first, second))
    _check_same(first, second)
    is_good = np.array([i.is_good for i in first], dtype=bool)
    ours, theirs = (evaluate(images, bootstrap=bootstrap, seed=seed, limits=limits) for images in (first, second))
    return compare_evaluations(ours, theirs, is_good)


def compare_evaluations(
    first: Evaluation, second: Evaluation, is_good: NDArray[np.bool_]
) -> dict[str, Comparison | None]:
    """As `compare_metrics`, of two evaluations of the same images ``(N,)``, some of which are good."""
    found: dict[str, Comparison | None] = {}
    for name, a in first.metrics.items():
        b = second.metrics[name]
        if a is None or b is None or not can_resample(is_good):
            found[name] = None
        else:
            found[name] = compare_resampled(a, b, first.resampled[name], second.resampled[name], is_good)
    return found


def compare_resampled(
    first: float,
    second: float,
    first_draws_S: NDArray[np.float64],
    second_draws_S: NDArray[np.float64],
    is_good: NDArray[np.bool_],
) -> Comparison:
    """Compare one metric of two detectors from its values on the same resampled sets.

    Args:
        first: the metric on the images themselves.
        second: the other detector's.
        first_draws_S: ``(S,)`` as `Evaluation.resampled`; or the means of several detectors' draws, such as seeds.
        second_draws_S: ``(S,)`` on the same draws.
        is_good: ``(N,)`` which images were drawn from; more than one of each kind.
    """
    n, difference = fewest(is_good), first - second
    spread = float(np.nanstd(first_draws_S - second_draws_S) * np.sqrt(n / (n - 1)))
    t = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    # Two perfect detectors do not differ on these images; that bounds how far they can differ on others.
    half_width = t * spread if spread > 0 else 1 - perfect_bound(is_good)
    return Comparison(
        first=first,
        second=second,
        difference=difference,
        interval=(difference - half_width, difference + half_width),
        p=float(2 * stdtr(n - 1, -t * abs(difference) / half_width)),
    )


def _check_same(first: Sequence[ScoredImage], second: Sequence[ScoredImage]) -> None:
    if [(i.name, i.defect) for i in first] == [(i.name, i.defect) for i in second]:
        return
    names = [{i.name for i in images} for images in (first, second)]
    unpaired = sorted(names[0] ^ names[1]) or [
        i.name for i, j in zip(first, second, strict=True) if i.defect != j.defect
    ]
    raise DataError(
        f"the two detectors scored {len(first)} and {len(second)} images that are not the same, '{unpaired[0]}' for "
        "one; compare them on the same images"
    )
