"""Parts on one scale and their weighted sum, against plain loops."""

import math

import pytest
import torch

from vtadl.density.combination import OFFSET, SHRINKAGE, Combination

DISTANCES = (False, False, True)


def fitted(values_BKHW):
    combination = Combination(DISTANCES)
    combination.fit(values_BKHW)
    return combination


def good_values(batch=8):
    """Two parts in nats, of any sign, and one of distances."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(batch, 3, 10, 10, generator=generator)
    return torch.stack([1 + 0.01 * normal[:, 0], 2000 + 500 * normal[:, 1], (0.2 * normal[:, 2]).exp()], 1)


def test_good_values_have_mean_0_and_deviation_1():
    values = good_values()
    of_parts = fitted(values).standardised(values).transpose(0, 1).flatten(1)
    torch.testing.assert_close(of_parts.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(of_parts.std(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_the_score_is_the_weighted_sum_of_logarithms_and_of_nats():
    combination, weights = fitted(good_values()), (0.5, 0.0, 0.25)
    combination.weights.copy_(torch.tensor(weights))
    x = good_values(2)
    found = combination(x)
    for image, row, column in ((0, 0, 0), (1, 3, 9)):
        expected = 0.0
        for part, weight in enumerate(weights):
            value = float(x[image, part, row, column])
            value = math.log(value + OFFSET) if DISTANCES[part] else value
            expected += weight * (value - float(combination.location[part])) / float(combination.scale[part])
        assert float(found[image, row, column]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_new_ones_count_all_parts_the_same_and_change_nothing():
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(Combination([False] * 4)(x), x.mean(1))


def test_of_two_parts_that_see_as_much_in_all_the_even_sum_wins():
    """The mean of logarithms is the product's: what one part alone finds odd counts less than what both do."""
    combination = Combination([True, True])
    both, one = (torch.tensor(values).view(1, 2, 1, 1) for values in ([3.0, 3.0], [5.5, 0.5]))
    assert combination(both) > combination(one)


def test_constant_values_and_distances_of_zero_are_no_harm():
    values = torch.stack([torch.full((5, 10), 7.0), torch.arange(50.0).view(5, 10), torch.zeros(5, 10)])[None]
    combination = fitted(values)
    assert combination(values).isfinite().all()
    assert combination(torch.full((1, 3, 1, 1), 9.0)).isfinite().all()


def correlated(correlation, count=40_000):
    generator = torch.Generator().manual_seed(0)
    factor = torch.linalg.cholesky(torch.tensor(correlation))
    return (factor @ torch.randn(len(correlation), count, generator=generator)).T.reshape(-1, len(correlation), 1, 1)


def test_parts_that_err_together_share_a_weight():
    values = correlated([[1.0, 0.98, 0.0], [0.98, 1.0, 0.0], [0.0, 0.0, 1.0]])
    combination = Combination([False] * 3)
    combination.fit(values)
    combination.weigh(values, torch.tensor([True] * 3))
    # By hand: (R + 0.1) w = 1 gives 1 / 2.08 to each of the two and 1 / 1.1 to the third.
    expected = torch.tensor([1 / 2.08, 1 / 2.08, 1 / 1.1])
    torch.testing.assert_close(combination.weights, expected / expected.sum(), atol=0.01, rtol=0)


def test_no_other_weights_vary_less_on_good_patches():
    values = correlated([[1.0, 0.6, 0.1], [0.6, 1.0, 0.3], [0.1, 0.3, 1.0]])
    combination = Combination([False] * 3)
    combination.fit(values)
    combination.weigh(values, torch.tensor([True] * 3))
    best = combination(values).var() + SHRINKAGE * combination.weights.square().sum()
    for change in torch.randn(50, 3, generator=torch.Generator().manual_seed(1)) * 0.05:
        other = Combination([False] * 3)
        other.fit(values)
        other.weights.copy_(combination.weights + change - change.mean())
        assert other(values).var() + SHRINKAGE * other.weights.square().sum() >= best - 1e-4


def test_parts_that_do_not_count_and_those_that_only_add_noise_have_no_weight():
    values = correlated([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    combination = Combination([False] * 3)
    combination.fit(values)
    combination.weigh(values, torch.tensor([True, False, True]))
    torch.testing.assert_close(combination.weights, torch.tensor([0.5, 0.0, 0.5]), atol=0.01, rtol=0)
    # A negative weight would praise a patch for looking odd to a part.
    noisy = torch.cat([values[:, :1], values[:, :1] + 0.2 * values[:, 1:2], values[:, 1:2]], 1)
    combination.fit(noisy)
    combination.weigh(noisy, torch.tensor([True] * 3))
    assert (combination.weights >= 0).all() and combination.weights.sum() == pytest.approx(1)


def test_constant_parts_can_be_weighed():
    values = torch.full((4, 3, 2, 2), 3.0)
    combination = fitted(values)
    combination.weigh(values, torch.tensor([True] * 3))
    torch.testing.assert_close(combination.weights, torch.full((3,), 1 / 3))


def test_what_was_fitted_is_stored():
    combination, other = fitted(good_values()), Combination(DISTANCES)
    other.load_state_dict(combination.state_dict())
    x = good_values(2)
    assert torch.equal(other(x), combination(x))
