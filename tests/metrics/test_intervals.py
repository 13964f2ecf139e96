import dataclasses

import numpy as np
import pytest

from helpers import scenes
from vtadl.metrics import ScoredImage, evaluate
from vtadl.metrics.binning import bin_pixels, bin_scores
from vtadl.metrics.intervals import interval, perfect_bound
from vtadl.metrics.pixels import rank_pixels
from vtadl.metrics.resampling import resample

LIMITS = (0.3, 0.05)


def by_scores(good, bad):
    pairs = [("good", s) for s in good] + [("cut", s) for s in bad]
    return [
        ScoredImage(name=str(n), defect=defect, score=float(score), anomaly_map=None, mask=None)
        for n, (defect, score) in enumerate(pairs)
    ]


@pytest.mark.parametrize("family", ["normal", "ties", "heavy", "infinities", "narrow"])
def test_resampling_draws_sets_whose_metrics_are_those_of_the_set_drawn(family):
    """Weights (2, 0, 1, ...) give the metrics of the list that holds those images that often."""
    scored = scenes.images(1, family, n=8, side=20, shift=0.5)
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.multinomial(8, np.full(8, 1 / 8), size=3), np.ones((1, 8), dtype=int)])
    weights[:, :2] += 1
    is_good = np.array([i.is_good for i in scored])
    pixels = bin_pixels([i.anomaly_map for i in scored], rank_pixels(scored)).metrics(weights * 1.0, LIMITS)
    images = bin_scores(np.array([i.score for i in scored]), is_good).metrics(weights * 1.0, LIMITS)
    for row, counts in enumerate(weights):
        exact = evaluate([i for i, n in zip(scored, counts, strict=True) for _ in range(n)], bootstrap=0).metrics
        for name, values in images.items():
            assert values[row] == pytest.approx(exact[f"image_{name}"], abs=1e-12), name
        for name, values in pixels.items():
            assert values[row] == pytest.approx(exact[f"pixel_{name}"], abs=1e-12), name


def test_the_binning_error_is_small_and_reported():
    scored = scenes.images(2, "normal", n=20, side=100, shift=1.0)
    evaluation = evaluate(scored, bootstrap=10)
    resampled = resample(scored, rank_pixels(scored), LIMITS, 1, 0)
    worst = max(abs(resampled.whole[k] - v) for k, v in evaluation.metrics.items())
    assert evaluation.binning_error == worst < 5e-4


def test_very_many_image_scores_share_bins():
    rng = np.random.default_rng(0)
    scored = by_scores(rng.normal(0, 1, 1800), rng.normal(1, 1, 1200))
    evaluation = evaluate(scored, bootstrap=50)
    assert 0 < evaluation.binning_error < 2e-3
    low, high = evaluation.intervals["image_AUROC"]
    assert 0.01 < high - low < 0.06


def test_intervals_are_seeded_and_hold_their_metric():
    scored = scenes.images(3, "normal", n=30, side=12, shift=1.0)
    first, again, other = (evaluate(scored, bootstrap=100, seed=s).intervals for s in (0, 0, 1))
    assert first == again != other
    for name, value in evaluate(scored, bootstrap=0).metrics.items():
        low, high = first[name]
        assert 0 <= low < value < high <= 1


def test_intervals_match_the_standard_error_of_hanley_and_mcneil():
    rng = np.random.default_rng(4)
    good, bad = rng.normal(0, 1, 300), rng.normal(1.2, 1, 200)
    evaluation = evaluate(by_scores(good, bad), bootstrap=1000)
    a = evaluation.metrics["image_AUROC"]
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + 199 * (q1 - a * a) + 299 * (q2 - a * a)) / (300 * 200))
    low, high = evaluation.intervals["image_AUROC"]
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_a_perfect_metric_gets_a_one_sided_bound():
    intervals = evaluate(by_scores(range(60), range(100, 140)), bootstrap=50).intervals
    assert intervals["image_AUROC"] == (pytest.approx(0.05 ** (1 / 40)), 1.0)
    worst = evaluate(by_scores(range(100, 160), range(40)), bootstrap=50).intervals
    assert worst["image_AUROC"] == (0.0, pytest.approx(1 - 0.05 ** (1 / 40)))


def test_the_perfect_bound_is_clopper_and_pearson():
    from scipy.stats import binomtest

    is_good = np.array([True] * 7 + [False] * 9)
    exact = binomtest(7, 7, alternative="greater").proportion_ci(0.95, method="exact").low
    assert perfect_bound(is_good) == pytest.approx(exact)


def test_one_image_of_a_kind_tells_no_interval():
    assert set(evaluate(by_scores([1, 2, 3], [2.5])).intervals.values()) == {None}
    assert interval(0.5, np.array([0.4, 0.6]), 0.1, np.array([True, False, False])) is None


def test_resamples_without_any_defective_pixel_are_left_out():
    scored = scenes.images(5, "normal", n=10, side=12, shift=1.0)
    empty = [
        i if i.is_good or n == 1 else dataclasses.replace(i, mask=np.zeros_like(i.mask)) for n, i in enumerate(scored)
    ]
    low, high = evaluate(empty, bootstrap=200).intervals["pixel_AUROC"]
    assert 0 < low < high < 1


def test_the_standard_error_is_that_of_leaving_each_image_out():
    scored = scenes.images(6, "normal", n=14, side=12, shift=1.0)
    spread = resample(scored, rank_pixels(scored), LIMITS, 1, 0).spread
    without = [evaluate(scored[:n] + scored[n + 1 :], bootstrap=0).metrics for n in range(len(scored))]
    for name, found in spread.items():
        kinds = [[w[name] for w, i in zip(without, scored, strict=True) if i.is_good == good] for good in (True, False)]
        variance = sum((len(k) - 1) / len(k) * np.sum((np.array(k) - np.mean(k)) ** 2) for k in kinds)
        assert found == pytest.approx(np.sqrt(variance), rel=1e-9), name
