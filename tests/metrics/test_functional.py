"""Each metric as a function, against slow versions of its definition and against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
import torch

from helpers import oracles, scenes
from vtadl.errors import ConfigError, DataError
from vtadl.metrics import aupimo, aupro, auroc, average_precision, evaluate, f1_max

CLOSE = pytest.approx
FINITE = [family for family in scenes.FAMILIES if family != "infinities"]


def labelled(seed, family):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], rng.integers(0, 2, 40)])
    return scenes.scores(rng, family, len(labels), np.float64), labels


def maps_and_masks(seed, family):
    images = scenes.images(seed, family, shift=0.5)
    maps = [image.anomaly_map for image in images]
    return maps, [np.zeros(m.shape, bool) if i.mask is None else i.mask for i, m in zip(images, maps, strict=True)]


@pytest.mark.parametrize("family", FINITE)
def test_image_metrics_agree_with_scikit_learn(family):
    for seed in range(5):
        scores, labels = labelled(seed, family)
        assert auroc(scores, labels) == CLOSE(sklearn.metrics.roc_auc_score(labels, scores), abs=1e-12)
        assert average_precision(scores, labels) == CLOSE(
            sklearn.metrics.average_precision_score(labels, scores), abs=1e-12
        )
        best = max(sklearn.metrics.f1_score(labels, scores >= threshold) for threshold in np.unique(scores))
        assert f1_max(scores, labels) == CLOSE(best, abs=1e-12)


@pytest.mark.parametrize("family", scenes.FAMILIES)
def test_pixel_metrics_agree_with_their_definitions(family):
    for seed in range(5):
        maps, masks = maps_and_masks(seed, family)
        negatives = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
        positives = np.concatenate([m[k] for m, k in zip(maps, masks, strict=True)])
        assert auroc(maps, masks) == CLOSE(oracles.auroc(negatives, positives), abs=1e-9)
        assert average_precision(maps, masks) == CLOSE(oracles.average_precision(negatives, positives), abs=1e-9)
        assert f1_max(maps, masks) == CLOSE(oracles.f1_max(negatives, positives), abs=1e-9)
        for limit in (0.3, 0.05):
            assert aupro(maps, masks, limit=limit) == CLOSE(oracles.aupro(maps, masks, limit), abs=1e-9)
        good = [m for m, k in zip(maps, masks, strict=True) if not k.any()]
        bad = [(m, k) for m, k in zip(maps, masks, strict=True) if k.any()]
        if good:
            expected = np.mean(oracles.aupimo(good, *zip(*bad, strict=True), low=0.01, high=0.5))
            assert aupimo(maps, masks, rates=(0.01, 0.5)) == CLOSE(expected, abs=1e-9)


def test_a_metric_alone_is_that_of_the_evaluation():
    images = scenes.images(3, "normal", n=6, side=20, shift=1.0)
    found = evaluate(images, bootstrap=0)
    scores, labels = [i.score for i in images], [not i.is_good for i in images]
    maps = [image.anomaly_map for image in images]
    masks = [np.zeros(m.shape, bool) if i.mask is None else i.mask for i, m in zip(images, maps, strict=True)]
    assert auroc(scores, labels) == found.metrics["image_AUROC"]
    assert average_precision(scores, labels) == found.metrics["image_AP"]
    assert f1_max(maps, masks) == found.metrics["pixel_F1Max"]
    assert aupro(maps, masks, limit=0.05) == found.metrics["pixel_AUPRO@0.05"]
    assert aupimo(maps, masks) == CLOSE(found.breakdown.aupimo)


def test_stacks_lists_and_tensors_are_the_same():
    maps = np.random.default_rng(0).random((3, 6, 5)).astype(np.float32)
    masks = np.zeros((3, 6, 5), np.uint8)
    masks[1, 2:4, 2:4] = 1
    for metric in (auroc, average_precision, f1_max, aupro, aupimo):
        expected = metric(maps, masks)
        assert metric(list(maps), list(masks.astype(bool))) == expected
        assert metric(maps.tolist(), masks.tolist()) == expected
        assert metric(torch.from_numpy(maps), torch.from_numpy(masks)) == expected


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, float("nan")], [0, 1], "scores 0 hold NaN"),
        ([0.1, 0.2], [0, 255], "values other than 0 and 1"),
        ([0.1, 0.2], [0, 0], "got 0 positives of 2"),
        ([0.1, 0.2], [1, 1], "got 2 positives of 2"),
        ([0.1, 0.2, 0.3], [0, 1], r"scores 0 have the shape \(3,\)"),
        ([np.zeros((2, 2))], [np.zeros((2, 3))], r"scores 0 have the shape \(2, 2\)"),
        ([np.zeros((2, 2))], [np.zeros((2, 2))] * 2, "got 1 arrays of scores and 2"),
        ([], [], "got 0 positives of 0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, labels, message):
    with pytest.raises(DataError, match=message):
        auroc(scores, labels)


def test_what_cannot_be_mapped_is_refused():
    maps, masks = np.zeros((2, 3, 3)), np.zeros((2, 3, 3))
    with pytest.raises(DataError, match="AUPRO needs defective pixels"):
        aupro(maps, masks)
    with pytest.raises(DataError, match="AUPIMO needs good and defective images; got 2 good of 2"):
        aupimo(maps, masks)
    with pytest.raises(DataError, match=r"expected float32 or float64 of shape \(height, width\)"):
        aupro([0.1, 0.2], [0, 1])
    with pytest.raises(ConfigError, match="limit is 0"):
        aupro(maps, masks, limit=0)
    with pytest.raises(ConfigError, match="rates are"):
        aupimo(maps, masks, rates=(0.5, 0.1))
