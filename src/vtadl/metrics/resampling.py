"""Metrics of sets drawn with replacement from a set of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.metrics.binning import BinnedImages, bin_pixels, bin_scores
from vtadl.metrics.images import ScoredImage
from vtadl.metrics.pixels import PixelRanks

_CHUNK = 64
"""Resamples worked on at once, so that their bins stay in the cache."""
_GROUPS = 500
"""Of more images of a kind than this, the jackknife leaves out groups, not single ones."""


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Metrics of resampled sets, and of the set itself on the same bins; only metrics that exist."""

    metrics: dict[str, NDArray[np.float64]]
    """``(S,)`` for each metric."""
    whole: dict[str, float]
    spread: dict[str, float]
    """Standard errors, by the jackknife: from the metrics of the set without each image in turn."""


def resample(
    images: Sequence[ScoredImage], pixels: PixelRanks | None, limits: Sequence[float], resamples: int, seed: int
) -> Resampled:
    """Draw good images from the good ones and defective from the defective; pixels and regions follow their image.

    The same seed draws the same images from any set of as many good and defective ones in the same order, so that two
    detectors can be compared pair by pair.
    """
    is_good = np.array([i.is_good for i in images], dtype=bool)
    levels = {}
    if is_good.any() and not is_good.all():
        levels["image"] = bin_scores(np.array([i.score for i in images], dtype=np.float64), is_good)
    if pixels is not None:
        levels["pixel"] = bin_pixels([i.anomaly_map for i in images if i.anomaly_map is not None], pixels)
    drawn = [_metrics(levels, weights, limits) for weights in _draws(is_good, resamples, seed)]
    whole = _metrics(levels, np.ones((1, len(images))), limits)
    return Resampled(
        metrics={name: np.concatenate([part[name] for part in drawn]) for name in whole},
        whole={name: float(value[0]) for name, value in whole.items()},
        spread=_spread(levels, is_good, limits),
    )


def _spread(levels: dict[str, BinnedImages], is_good: NDArray[np.bool_], limits: Sequence[float]) -> dict[str, float]:
    """Jackknife standard errors; where a set has no metric without some image, that image is passed over."""
    n_good, n_bad = int(is_good.sum()), int((~is_good).sum())
    n_good_groups = min(n_good, _GROUPS)
    n_groups = n_good_groups + min(n_bad, _GROUPS)
    group_of_image = np.empty(len(is_good), dtype=np.int64)
    group_of_image[is_good] = np.arange(n_good) % _GROUPS
    group_of_image[~is_good] = n_good_groups + np.arange(n_bad) % _GROUPS
    groups = np.arange(n_groups)
    chunks = [groups[start : start + _CHUNK, None] != group_of_image for start in range(0, n_groups, _CHUNK)]
    parts = [_metrics(levels, chunk.astype(np.float64), limits) for chunk in chunks]
    spread = {}
    for name in parts[0] if parts else ():
        values_G = np.concatenate([part[name] for part in parts])
        kinds = [kind[~np.isnan(kind)] for kind in (values_G[:n_good_groups], values_G[n_good_groups:])]
        spread[name] = float(np.sqrt(sum((len(kind) - 1) * kind.var() for kind in kinds if len(kind))))
    return spread


def _metrics(
    levels: dict[str, BinnedImages], weights_SN: NDArray[np.float64], limits: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    return {
        f"{level}_{name}": values
        for level, binned in levels.items()
        for name, values in binned.metrics(weights_SN, limits).items()
    }


def _draws(is_good: NDArray[np.bool_], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """``(S, N)`` how often each image is drawn, for some resamples at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        weights = np.zeros((min(_CHUNK, resamples - start), len(is_good)))
        for kind in (is_good, ~is_good):
            n = int(kind.sum())
            if n:
                weights[:, kind] = rng.multinomial(n, np.full(n, 1 / n), size=len(weights))
        yield weights
