import dataclasses

import numpy as np
import pytest

from helpers import scenes
from vtadl.errors import DataError
from vtadl.metrics import compare_metrics, evaluate


def noisier(scored, amount, seed=0):
    rng = np.random.default_rng(seed)
    return [
        dataclasses.replace(
            i,
            score=i.score + amount * rng.standard_normal(),
            anomaly_map=i.anomaly_map + amount * rng.standard_normal(i.anomaly_map.shape, dtype=np.float32),
        )
        for i in scored
    ]


@pytest.fixture(scope="module")
def scored():
    return scenes.images(0, "normal", n=40, side=20, shift=2.0)


def test_a_much_noisier_detector_is_surely_worse(scored):
    compared = compare_metrics(scored, noisier(scored, 4.0), bootstrap=200)
    metrics = evaluate(scored, bootstrap=0).metrics
    assert list(compared) == list(metrics)
    for name in ("pixel_AUROC", "pixel_AUPRO@0.3"):
        result = compared[name]
        assert result.first == metrics[name]
        assert result.difference == result.first - result.second
        assert 0 < result.interval[0] < result.difference < result.interval[1]
        assert result.p < 0.001


def test_a_detector_does_not_differ_from_itself_in_any_order(scored):
    for result in compare_metrics(scored, scored[::-1], bootstrap=50).values():
        assert result.difference == 0
        assert result.p == 1
        assert result.interval[0] < 0 < result.interval[1]


def test_pairing_narrows_the_interval(scored):
    slightly = noisier(scored, 0.05)
    difference = compare_metrics(scored, slightly, bootstrap=200)["pixel_AUROC"].interval
    alone = evaluate(scored, bootstrap=200).intervals["pixel_AUROC"]
    assert difference[1] - difference[0] < 0.3 * (alone[1] - alone[0])


def test_p_falls_below_a_twentieth_where_the_interval_leaves_zero(scored):
    for amount in (0.1, 0.5, 1.0):
        for result in compare_metrics(scored, noisier(scored, amount), bootstrap=100).values():
            assert (result.p < 0.05) == (not result.interval[0] <= 0 <= result.interval[1])


def test_different_images_are_refused(scored):
    with pytest.raises(DataError, match=r"40 and 39 images that are not the same, '003'"):
        compare_metrics(scored, scored[:3] + scored[4:])
    with pytest.raises(DataError, match="'000' for one"):
        compare_metrics(scored, [dataclasses.replace(scored[0], defect="cut", mask=None), *scored[1:]])


def test_metrics_that_one_lacks_are_not_compared(scored):
    mapless = [dataclasses.replace(i, anomaly_map=None) for i in scored]
    compared = compare_metrics(scored, mapless, bootstrap=20)
    assert all((result is None) == name.startswith("pixel") for name, result in compared.items())
