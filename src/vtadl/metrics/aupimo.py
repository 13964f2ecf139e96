"""AUPIMO: how much of each defective image is found at false positive rates that inspection can live with.

Recall is averaged over the logarithm of the false positive rate between two limits; the rate is that of good images
alone, each weighing the same. It judges every image by itself, which the mean over a set hides.

Source: J. Bertoldo et al., AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low Tolerance,
BMVC 2024. There the thresholds are sampled; here every distinct score of a defective pixel is one, and the recall at a
rate is that of the lowest threshold that keeps to it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vtadl.metrics.counting import in_threads
from vtadl.metrics.images import ScoredImage, has_pixels

RATES = (1e-5, 1e-4)
_SAMPLE = 1 << 18
"""Pixels that tell, about, how high the highest scores are."""


def image_aupimo(images: Sequence[ScoredImage], rates: tuple[float, float] = RATES) -> dict[int, float]:
    """AUPIMO of each image that has defective pixels, by its index.

    Args:
        images: good ones, which set the false positive rates, and defective ones with masks.
        rates: the limits, in (0, 1].

    Returns:
        Values in [0, 1]; empty without good images, or where a map or a mask is missing.
    """
    good = [i.anomaly_map for i in images if i.is_good and i.anomaly_map is not None]
    bad = [n for n, i in enumerate(images) if i.mask is not None and i.mask.any()]
    if not has_pixels(images) or not good:
        return {}
    scores, rates_from = _highest(good, rates[1])
    found = in_threads(lambda n: _aupimo(images[n], scores, rates_from, rates), bad, sum(m.size for m in good))
    return dict(zip(bad, found, strict=True))


def _highest(good: Sequence[NDArray[np.floating]], rate: float) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """The highest scores of good images, rising, and the false positive rate at each, as far as ``rate`` at least."""
    total = sum(m.size for m in good)
    sample = np.sort(np.concatenate([m.ravel()[:: max(total // _SAMPLE, 1) | 1] for m in good]))
    floor = sample[max(len(sample) - int(4 * rate * len(sample)) - 1, 0)]
    parts = in_threads(lambda m: m[m >= floor], good, total)
    if sum(len(part) / m.size for part, m in zip(parts, good, strict=True)) < rate * len(good):
        parts = [m.ravel() for m in good]  # the sample misled, or a rate near 1 is asked for
    weights = np.repeat([1 / (m.size * len(good)) for m in good], [len(p) for p in parts])
    scores = np.concatenate(parts)
    order = np.argsort(scores)
    return scores[order], np.cumsum(weights[order][::-1])[::-1]


def _aupimo(
    image: ScoredImage,
    scores: NDArray[np.floating],
    rates_from: NDArray[np.float64],
    rates: tuple[float, float],
) -> float:
    assert image.anomaly_map is not None and image.mask is not None
    index = np.searchsorted(scores, image.anomaly_map[image.mask], side="left")
    rate = np.append(rates_from, 0.0)[index]
    low, high = np.log(rates)
    # A pixel is found at all rates from that of its own score on.
    share = (high - np.log(rate.clip(*rates))) / (high - low)
    return float(share.mean())
