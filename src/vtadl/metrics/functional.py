"""One metric at a time, as a pure function of scores and their truth. `evaluate` gives all of them with intervals.

Scores and truth come in two forms: one score and one label for each image, or one anomaly map and one mask for each
image. Labels and masks are true (or 1) where something is abnormal; larger scores are more abnormal, in any range.
Maps may differ in size from image to image. Every metric is exact: a threshold at each distinct score, ties merged.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtadl.errors import ConfigError, DataError
from vtadl.metrics.aupimo import RATES, image_aupimo
from vtadl.metrics.aupro import region_aupro
from vtadl.metrics.curves import ranked_auroc, ranked_average_precision, ranked_f1_max
from vtadl.metrics.images import GOOD, ScoredImage, check
from vtadl.metrics.pixels import rank_pixels
from vtadl.metrics.ranking import Ranks, rank

Values = ArrayLike | Sequence[ArrayLike]
"""``(N,)`` values of images, or N arrays ``(H, W)``, each of its own size if need be."""


def auroc(scores: Values, labels: Values) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative, ties counting half.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    >>> auroc([[[0.1, 0.4], [0.35, 0.8]]], [[[0, 0], [1, 1]]])  # one map and its mask
    0.75

    Args:
        scores: ``(N,)`` image scores, or N anomaly maps ``(H, W)``.
        labels: ``(N,)`` labels, or N masks of the maps' sizes.

    Returns:
        A value in [0, 1]; 0.5 is guessing.

    Raises:
        DataError: a NaN, shapes that differ, labels other than 0 and 1, or one kind of label alone.
    """
    return ranked_auroc(_ranks(scores, labels))


def average_precision(scores: Values, labels: Values) -> float:
    """Mean precision over the positives, each at its own score as the threshold (no interpolation).

    >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
    0.8333

    Args:
        scores: ``(N,)`` image scores, or N anomaly maps ``(H, W)``.
        labels: ``(N,)`` labels, or N masks of the maps' sizes.

    Returns:
        A value in (0, 1]; guessing gives the share of positives.

    Raises:
        DataError: as for `auroc`.
    """
    return ranked_average_precision(_ranks(scores, labels))


def f1_max(scores: Values, labels: Values) -> float:
    """The best F1 over all thresholds. The threshold is chosen on these data, so the value is for comparison only.

    >>> f1_max([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.8

    Args:
        scores: ``(N,)`` image scores, or N anomaly maps ``(H, W)``.
        labels: ``(N,)`` labels, or N masks of the maps' sizes.

    Returns:
        A value in (0, 1].

    Raises:
        DataError: as for `auroc`.
    """
    return ranked_f1_max(_ranks(scores, labels))[0]


def aupro(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike], *, limit: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a false positive rate, divided by that rate.

    Every 8-connected region of the masks weighs the same, whatever its size.

    >>> aupro([[[0.1, 0.2, 0.9], [0.3, 0.1, 0.8]]], [[[0, 0, 1], [0, 0, 1]]])
    1.0

    Args:
        maps: anomaly maps ``(H, W)``, of good images too.
        masks: one for each map, of its size; all 0 for a good image.
        limit: false positive rate in (0, 1] that the curve runs to.

    Returns:
        A value in [0, 1].

    Raises:
        ConfigError: a limit that cannot be.
        DataError: a NaN, shapes that differ, masks other than 0 and 1, no defective pixel, or defective ones alone.

    Source: P. Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 6.
    """
    if not 0 < limit <= 1:
        raise ConfigError(f"AUPRO's limit is {limit}; expected a false positive rate above 0 and up to 1")
    pixels = rank_pixels(_images(maps, masks))
    if pixels is None:
        raise DataError("AUPRO needs defective pixels and defect-free ones; got one kind alone")
    return float(region_aupro(pixels, limit).mean())


def aupimo(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike], *, rates: tuple[float, float] = RATES) -> float:
    """Recall of a defective image, averaged over the logarithm of the false positive rate, then over the images.

    The false positive rate is that of the good images alone.

    >>> aupimo([[[0.1, 0.2]], [[0.1, 0.9]]], [[[0, 0]], [[0, 1]]])
    1.0

    Args:
        maps: anomaly maps ``(H, W)``, of good images too.
        masks: one for each map, of its size; all 0 for a good image.
        rates: the lowest and the highest false positive rate, in (0, 1].

    Returns:
        A value in [0, 1]. `evaluate` gives that of each image.

    Raises:
        ConfigError: rates that cannot be.
        DataError: a NaN, shapes that differ, masks other than 0 and 1, no good image, or no defective one.

    Source: J. Bertoldo et al., AUPIMO: Redefining Visual Anomaly Detection Benchmarks, BMVC 2024.
    """
    if not 0 < rates[0] < rates[1] <= 1:
        raise ConfigError(f"AUPIMO's rates are {rates}; expected two rising false positive rates above 0 and up to 1")
    images = _images(maps, masks)
    by_image = image_aupimo(images, rates)
    if not by_image:
        good = sum(image.is_good for image in images)
        raise DataError(f"AUPIMO needs good and defective images; got {good} good of {len(images)}")
    return float(np.mean(list(by_image.values())))


def _ranks(scores: Values, labels: Values) -> Ranks:
    score, truth = (np.concatenate([array.ravel() for array in arrays]) for arrays in _pairs(scores, labels))
    if not truth.any() or truth.all():
        raise DataError(f"expected positives and negatives; got {int(truth.sum())} positives of {truth.size}")
    return rank(score[~truth], score[truth])


def _images(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> list[ScoredImage]:
    images = [
        ScoredImage(name=str(n), defect="defect" if mask.any() else GOOD, score=0.0, anomaly_map=anomaly_map, mask=mask)
        for n, (anomaly_map, mask) in enumerate(zip(*_pairs(maps, masks), strict=True))
    ]
    check(images)
    return images


def _pairs(scores: Values, labels: Values) -> tuple[list[NDArray[np.floating]], list[NDArray[np.bool_]]]:
    """Scores and truth as arrays that go together: one pair for each map, or one for all images."""
    score_arrays = [_floats(values, n) for n, values in enumerate(_arrays(scores))]
    truth_arrays = [_booleans(values, n) for n, values in enumerate(_arrays(labels))]
    if len(score_arrays) != len(truth_arrays):
        raise DataError(f"got {len(score_arrays)} arrays of scores and {len(truth_arrays)} of labels or masks")
    for n, (score, truth) in enumerate(zip(score_arrays, truth_arrays, strict=True)):
        if score.shape != truth.shape:
            raise DataError(f"scores {n} have the shape {score.shape} but their labels or mask {truth.shape}")
    return score_arrays, truth_arrays


def _arrays(values: Values) -> list[NDArray[Any]]:
    if not isinstance(values, np.ndarray):
        items = [np.asarray(item) for item in values]  # type: ignore[union-attr]
        if items and items[0].ndim:
            return items
        values = np.asarray(items)
    return [values] if values.ndim < 2 else list(values)


def _floats(values: NDArray[Any], n: int) -> NDArray[np.floating]:
    scores: NDArray[np.floating] = values if values.dtype == np.float32 else values.astype(np.float64)
    if np.isnan(scores).any():
        raise DataError(f"scores {n} hold NaN; expected numbers or infinities")
    return scores


def _booleans(values: NDArray[Any], n: int) -> NDArray[np.bool_]:
    truth: NDArray[np.bool_] = values.astype(bool)
    if not np.array_equal(truth, values):
        raise DataError(f"labels or mask {n} hold values other than 0 and 1; compare them first, as in mask > 0")
    return truth
