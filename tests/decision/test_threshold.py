"""The promise of thresholds, against simulation and SciPy's independent versions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vtadl.decision.card import p_value
from vtadl.decision.threshold import (
    cheapest_threshold,
    conformal_threshold,
    images_needed,
    miss_threshold,
    rank_of_rate,
    rate_interval,
    share_interval,
)
from vtadl.errors import ConfigError, DataError

SCORES = st.lists(st.floats(-5, 5, width=16), min_size=1, max_size=60)


def test_how_many_images_a_rate_needs():
    assert [images_needed(rate) for rate in (0.5, 0.05, 0.01, 0.001, 0.07)] == [1, 19, 99, 999, 14]
    # 0.29 * 100 is 28.999... in binary.
    assert rank_of_rate(0.29, 99) == 29
    for rate in (0.05, 0.01, 0.03, 0.07):
        needed = images_needed(rate)
        assert rank_of_rate(rate, needed) >= 1
        with pytest.raises(DataError, match=f"needs at least {needed} good images"):
            rank_of_rate(rate, needed - 1)


def test_refusal_says_what_the_images_do_support():
    with pytest.raises(DataError, match=r"1 % needs at least 99 .* there are 21; 21 support 4\.6 % at the lowest"):
        conformal_threshold(list(range(21)), 0.01)
    with pytest.raises(DataError, match="there are 0: add some"):
        conformal_threshold([], 0.05)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, math.nan])
def test_rates_that_cannot_be(rate):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        conformal_threshold([1.0, 2.0], rate)


@given(SCORES, st.floats(-6, 6, width=16), st.integers(1, 99))
def test_a_score_is_above_the_threshold_exactly_where_its_p_value_is_at_most_the_rate(scores, new, percent):
    rate = percent / 100
    if images_needed(rate) > len(scores):
        return
    rejected = new > conformal_threshold(scores, rate)
    # In whole numbers: p-value (1 + at least as high) / (n + 1) against percent / 100.
    at_least = sum(score >= new for score in scores)
    assert p_value(new, sorted(scores)) == (1 + at_least) / (len(scores) + 1)
    assert rejected == (100 * (1 + at_least) <= percent * (len(scores) + 1))


@given(SCORES, st.integers(1, 99))
def test_leaving_each_image_out_in_turn_keeps_to_the_rate(scores, percent):
    """Exchangeability itself: of the n + 1 images, at most the asked share is rejected by the n others."""
    if images_needed(percent / 100) > len(scores) - 1:
        return
    rejected = sum(
        scores[i] > conformal_threshold(scores[:i] + scores[i + 1 :], percent / 100) for i in range(len(scores))
    )
    assert 100 * rejected <= percent * len(scores)


def test_intervals_are_the_beta_and_the_clopper_pearson_ones():
    low, high = rate_interval(1, 21)
    assert (low, high) == pytest.approx((1 - 0.975 ** (1 / 21), 1 - 0.025 ** (1 / 21)))
    for hits, count in ((0, 10), (3, 10), (10, 10), (1, 200)):
        exact = stats.binomtest(hits, count).proportion_ci(0.95, "exact")
        assert share_interval(hits, count) == pytest.approx((exact.low, exact.high))


def test_misses_keep_to_their_rate():
    defects = [float(score) for score in range(1, 40)]
    threshold = miss_threshold(defects, 0.05)
    assert sum(score <= threshold for score in defects) == 1
    assert threshold < 2.0
    with pytest.raises(DataError, match="needs at least 19 labelled defects; there are 5"):
        miss_threshold(defects[:5], 0.05)


@given(SCORES, SCORES, st.sampled_from([0.5, 1.0, 30.0]), st.sampled_from([0.01, 0.3]))
def test_the_cheapest_threshold_is_cheapest(good, defective, cost, share):
    def loss(threshold):
        rejected, missed = np.mean(np.array(good) > threshold), np.mean(np.array(defective) <= threshold)
        return (1 - share) * rejected + share * cost * missed

    found = cheapest_threshold(good, defective, miss_cost=cost, defect_share=share)
    grid = np.unique(np.concatenate([good, defective, [-10.0]]))
    assert loss(found) <= min(map(loss, grid)) + 1e-12


def test_costs_that_cannot_be():
    with pytest.raises(ConfigError, match="--miss-cost is -1"):
        cheapest_threshold([1.0], [2.0], miss_cost=-1, defect_share=0.1)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        cheapest_threshold([1.0], [2.0], miss_cost=1, defect_share=2)
    with pytest.raises(DataError, match="got 1 good and 0 defective"):
        cheapest_threshold([1.0], [], miss_cost=1, defect_share=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "rate"), [(21, 0.05), (99, 0.01), (200, 0.1)])
@pytest.mark.parametrize("distribution", [stats.norm(3, 1), stats.lognorm(1), stats.t(2)])
def test_the_promise_holds_over_many_calibrations(count, rate, distribution):
    rng = np.random.default_rng([count, round(1000 * rate)])
    scores = distribution.rvs((1000, count), random_state=rng)
    true_rates = np.array([distribution.sf(conformal_threshold(list(row), rate)) for row in scores])
    error = true_rates.std(ddof=1) / math.sqrt(len(true_rates))
    assert true_rates.mean() <= rate + 3 * error
    low, high = rate_interval(rank_of_rate(rate, count), count)
    assert 0.93 <= np.mean((low <= true_rates) & (true_rates <= high)) <= 0.97
