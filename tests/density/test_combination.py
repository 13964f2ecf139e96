"""Parts on one scale and their weighted sum, against plain loops."""

import torch

from vtadl.density.combination import Combination


def fitted(values):
    combination = Combination(len(values))
    combination.fit(values)
    return combination


def good_values():
    generator = torch.Generator().manual_seed(0)
    scale, location = torch.tensor([[0.01], [3.0], [500.0]]), torch.tensor([[1.0], [-4.0], [2000.0]])
    return location + scale * torch.randn(3, 800, generator=generator)


def test_good_values_have_mean_0_and_deviation_1():
    values = good_values()
    standard = fitted(values).standardised(values.reshape(3, 8, 10, 10).transpose(0, 1))
    assert standard.shape == (8, 3, 10, 10)
    of_parts = standard.transpose(0, 1).flatten(1)
    torch.testing.assert_close(of_parts.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(of_parts.std(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_the_score_is_the_weighted_sum():
    combination = fitted(good_values())
    combination.weights.copy_(torch.tensor([0.5, 0.0, 0.25]))
    x = 100 * torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 4, 5)
    for part, weight in enumerate((0.5, 0.0, 0.25)):
        expected += weight * (x[:, part] - combination.location[part]) / combination.scale[part]
    torch.testing.assert_close(combination(x), expected)


def test_new_ones_count_all_parts_the_same_and_change_nothing():
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(Combination(4)(x), x.mean(1))


def test_constant_values_do_not_divide_by_zero():
    combination = fitted(torch.stack([torch.full((50,), 7.0), torch.arange(50.0)]))
    assert torch.equal(combination(torch.tensor([7.0, 24.5]).view(1, 2, 1, 1)), torch.zeros(1, 1, 1))
    assert combination(torch.full((1, 2, 1, 1), 9.0)).isfinite().all()


def test_what_was_fitted_is_stored():
    combination, other = fitted(good_values()), Combination(3)
    other.load_state_dict(combination.state_dict())
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(other(x), combination(x))
