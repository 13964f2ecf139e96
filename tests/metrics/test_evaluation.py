"""The facade's metrics against the slow versions, and their invariances."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import oracles, scenes
from vtadl.errors import ConfigError, DataError
from vtadl.metrics import ScoredImage, counting, evaluate

KEYS = [
    "image_AUROC",
    "image_AP",
    "image_F1Max",
    "pixel_AUROC",
    "pixel_AP",
    "pixel_F1Max",
    "pixel_AUPRO@0.3",
    "pixel_AUPRO@0.05",
]


def expected(scored, limits=(0.3, 0.05)):
    maps, masks, negatives, positives = scenes.arrays(scored)
    good = np.array([i.score for i in scored if i.is_good])
    bad = np.array([i.score for i in scored if not i.is_good])
    metrics = {}
    for level, low, high in (("image", good, bad), ("pixel", negatives, positives)):
        metrics[f"{level}_AUROC"] = oracles.auroc(low, high)
        metrics[f"{level}_AP"] = oracles.average_precision(low, high)
        metrics[f"{level}_F1Max"] = oracles.f1_max(low, high)
    for limit in limits:
        metrics[f"pixel_AUPRO@{limit:g}"] = oracles.aupro(maps, masks, limit)
    return metrics


@settings(max_examples=600, derandomize=True)
@given(
    st.integers(0, 2**32),
    st.sampled_from(scenes.FAMILIES),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.sampled_from([1.0, 0.7, 0.01]),
)
def test_every_metric_agrees_with_its_definition(seed, family, dtype, large, limit):
    scored = scenes.images(seed, family, dtype)
    small = counting.SMALL
    counting.SMALL = 0 if large else small  # 0 sends even the smallest set through the way of the large ones
    try:
        found = evaluate(scored, bootstrap=0, limits=(0.3, 0.05, limit)).metrics
    finally:
        counting.SMALL = small
    truth = expected(scored, (0.3, 0.05, limit))
    assert found.keys() == truth.keys()
    for name, value in truth.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("family", ["normal", "ties", "heavy"])
@pytest.mark.parametrize("change", [lambda x: np.exp(x / 8), lambda x: x**3 * 1e-9, lambda x: np.arctan(x) * 1e4])
def test_a_strictly_increasing_change_of_scores_changes_no_bit(family, change):
    scored = scenes.images(3, family, np.float32, n=8, side=60)
    changed = []
    for image in scored:
        anomaly_map = change(image.anomaly_map.astype(np.float64))
        changed.append(dataclasses.replace(image, score=float(anomaly_map.max()), anomaly_map=anomaly_map))
    n_distinct = [len(np.unique(np.concatenate([i.anomaly_map.ravel() for i in s]))) for s in (scored, changed)]
    assert n_distinct[0] == n_distinct[1]
    assert evaluate(changed, bootstrap=0).metrics == evaluate(scored, bootstrap=0).metrics


def test_perfect_separation_is_exactly_one_at_any_scale():
    masks = [np.zeros((32, 32), dtype=bool), np.eye(32, dtype=bool)]
    maps = [np.where(mask, 50, 20).astype(np.float32) + np.float32(i) for i, mask in enumerate(masks)]
    scored = [
        ScoredImage(name="a", defect="good", score=21.0, anomaly_map=maps[0], mask=None),
        ScoredImage(name="b", defect="cut", score=51.0, anomaly_map=maps[1], mask=masks[1]),
    ]
    assert evaluate(scored, bootstrap=0).metrics == dict.fromkeys(KEYS, 1.0)


def test_metrics_that_cannot_be_computed_are_none():
    scored = scenes.images(0, "normal", n=4)
    good = [i for i in scored if i.is_good]
    bad = [i for i in scored if not i.is_good]
    unmasked = [dataclasses.replace(i, mask=None) for i in scored]
    mapless = [dataclasses.replace(i, anomaly_map=None, mask=None) for i in scored]
    assert evaluate([]).metrics == dict.fromkeys(KEYS)
    assert evaluate(good).metrics == dict.fromkeys(KEYS)
    only_bad = evaluate(bad).metrics
    assert all(only_bad[k] is None for k in KEYS[:3]) and all(only_bad[k] is not None for k in KEYS[3:])
    for partial in (unmasked, mapless):
        metrics = evaluate(partial).metrics
        assert list(metrics) == KEYS
        assert all(metrics[k] is not None for k in KEYS[:3]) and all(metrics[k] is None for k in KEYS[3:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "'001' has the score NaN"),
        ({"anomaly_map": np.full((4, 5), np.nan, dtype=np.float32)}, "the anomaly map of '001' holds NaN"),
        ({"anomaly_map": np.zeros((4, 5), dtype=np.uint8)}, "'001' is uint8"),
        ({"mask": np.zeros((5, 4), dtype=bool)}, "the mask of '001' is 4x5 but its anomaly map is 5x4"),
        ({"mask": np.zeros((4, 5), dtype=np.uint8)}, "the mask of '001' is uint8"),
        ({"defect": "good"}, "'001' counts as good but its mask marks a defect"),
    ],
)
def test_errors_name_the_image(change, message):
    mask = np.zeros((4, 5), dtype=bool)
    mask[1, 1] = True
    image = ScoredImage(name="001", defect="cut", score=1.0, anomaly_map=np.ones((4, 5), dtype=np.float32), mask=mask)
    with pytest.raises(DataError, match=message):
        evaluate([dataclasses.replace(image, **change)])


def test_curves_touch_the_metrics():
    scored = scenes.images(5, "normal", n=8, side=25, shift=1.0)
    evaluation = evaluate(scored, bootstrap=0)
    maps, masks, *_ = scenes.arrays(scored)
    for name, metric in (("pixel_ROC", "pixel_AUROC"), ("image_ROC", "image_AUROC")):
        curve = evaluation.curves[name]
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(evaluation.metrics[metric], abs=2e-3)
        assert len(curve.x) <= 4002
    x, y = oracles.pro_points(maps, masks)
    curve = evaluation.curves["pixel_PRO"]
    assert oracles.area_to_limit(curve.x, curve.y, 0.3) == pytest.approx(oracles.area_to_limit(x, y, 0.3), abs=2e-3)
    distances = np.abs(curve.x[:, None] - x) + np.abs(curve.y[:, None] - y)
    assert distances.min(axis=1).max() < 1e-12  # every point is one of the full curve's
    assert evaluation.metrics["pixel_F1Max"] == pytest.approx(f1_of(evaluation.curves["pixel_PR"]), abs=2e-3)


def f1_of(curve):
    return np.max(2 * curve.x * curve.y / (curve.x + curve.y))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [({"limits": (0,)}, "limit is 0; expected"), ({"limits": (1.5,)}, "limit is 1.5"), ({"bootstrap": -1}, "is -1")],
)
def test_settings_that_cannot_be_are_refused(settings_, message):
    with pytest.raises(ConfigError, match=message):
        evaluate([], **settings_)


def test_regions_at_the_border_and_of_one_pixel_count_like_any_other():
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, :] = mask[5, 5] = mask[3, 2] = mask[4, 3] = True  # the last two touch at a corner: one region
    anomaly_map = np.arange(36.0).reshape(6, 6)
    image = ScoredImage(name="a", defect="cut", score=1.0, anomaly_map=anomaly_map, mask=mask)
    regions = evaluate([image], bootstrap=0).breakdown.regions
    assert sorted(regions.areas.tolist()) == [1, 2, 6]
    assert evaluate([image], bootstrap=0).metrics["pixel_AUPRO@0.3"] == pytest.approx(
        oracles.aupro([anomaly_map], [mask], 0.3), abs=1e-12
    )
