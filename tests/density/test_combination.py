"""Parts on one scale, the two averages of them, and the map that both make, against plain loops."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from vtadl.density.combination import BACKGROUND, LEAST_HEIGHT, OFFSET, Combination, background

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


def asked(combination, whether, where, values=None):
    values = good_values() if values is None else values
    combination.count(values, detection_K=torch.tensor(whether), localization_K=torch.tensor(where))
    return combination


def logarithm(combination, x, image, part, row, column):
    value = float(x[image, part, row, column])
    value = math.log(value + OFFSET) if DISTANCES[part] else value
    return (value - float(combination.location[part])) / float(combination.scale[part])


def test_where_is_the_mean_of_logarithms_and_of_nats_and_whether_that_of_their_maxima():
    combination = asked(fitted(good_values()), (True, False, True), (False, True, True))
    x = good_values(2)
    score, where = combination(x)
    for image in (0, 1):
        for row, column in ((0, 0), (3, 9)):
            expected = sum(logarithm(combination, x, image, part, row, column) for part in (1, 2)) / 2
            assert float(where[image, row, column]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        places = [(row, column) for row in range(10) for column in range(10)]
        highest = [max(logarithm(combination, x, image, part, *place) for place in places) for part in (0, 2)]
        assert float(score[image]) == pytest.approx(sum(highest) / 2, rel=1e-4)


def test_new_ones_count_all_parts_the_same_and_change_nothing():
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    score, where = Combination([False] * 4)(x)
    torch.testing.assert_close(where, x.mean(1))
    torch.testing.assert_close(score, x.amax((2, 3)).mean(1))


def test_of_two_parts_that_see_as_much_in_all_the_even_sum_wins():
    """The mean of logarithms is the product's: what one part alone finds odd counts less than what both do."""
    combination = Combination([True, True])
    both, one = (torch.tensor(values).view(1, 2, 1, 1) for values in ([3.0, 3.0], [5.5, 0.5]))
    assert combination(both)[1] > combination(one)[1]


def test_constant_values_and_distances_of_zero_are_no_harm():
    values = torch.stack([torch.full((5, 10), 7.0), torch.arange(50.0).view(5, 10), torch.zeros(5, 10)])[None]
    combination = fitted(values)
    for x in (values, torch.full((1, 3, 1, 1), 9.0)):
        _, where = combination(x)
        assert combination.stretched(where, background(where), torch.zeros(1)).isfinite().all()


def test_the_background_is_the_value_that_the_least_odd_patches_do_not_exceed():
    maps = torch.randperm(100, generator=torch.Generator().manual_seed(0)).float().view(1, 4, 25)
    assert background(torch.cat([maps, 2 * maps])).tolist() == [100 * BACKGROUND, 200 * BACKGROUND]


def test_the_usual_background_is_that_of_good_images():
    values = good_values()
    combination = asked(fitted(values), (True, True, True), (True, False, True))
    backgrounds = [sorted(where.flatten().tolist())[int(100 * BACKGROUND)] for where in combination(values)[1]]
    assert float(combination.usual) == pytest.approx(sum(backgrounds) / len(backgrounds), rel=1e-4)


def stretched(values, score, usual=-0.5):
    combination = Combination([False])
    combination.usual.fill_(usual)
    maps = torch.tensor(values).view(1, 5, -1)
    return combination.stretched(maps, background(maps), torch.tensor([score]))


maps = st.lists(st.floats(-10, 10, width=16), min_size=30, max_size=30).filter(
    lambda x: max(x) - sorted(x)[int(BACKGROUND * len(x))] > 0.1
)


@given(maps, st.floats(-3, 20))
def test_the_score_is_the_maximum_and_nothing_changes_places(values, score):
    after = stretched(values, score)
    assert float(after.max()) == pytest.approx(score, abs=1e-4)
    order = torch.tensor(values).argsort(stable=True)
    assert (after.flatten()[order].diff() >= -1e-3).all()
    base = (sorted(values)[int(BACKGROUND * len(values))] - 0.5) / 2
    assert float(background(after)) == pytest.approx(min(base, score - LEAST_HEIGHT), abs=2e-3)


def test_only_what_is_near_the_maximum_follows_the_score():
    values = [0.0, 0.0, 1.0, 5.0, 10.0]
    low, high = (stretched(values, score, usual=0.0).flatten().tolist() for score in (10.0, 14.0))
    assert low == pytest.approx(values, abs=1e-4)  # all as it should be: nothing changes
    assert high == pytest.approx([0, 0, 1, 5 + 4 / 2**8, 14], abs=1e-3)


def test_half_of_what_a_whole_image_is_odd_by_is_taken_off_its_background():
    values = [2.0, 2.0, 3.0, 7.0, 12.0]  # everything 2 above the usual
    assert stretched(values, 12.0, usual=0.0).flatten().tolist() == pytest.approx([1, 1, 2.1, 6.5, 12], abs=1e-3)


def test_what_was_fitted_is_stored():
    combination = asked(fitted(good_values()), (True, False, True), (True, True, False))
    other = Combination(DISTANCES)
    other.load_state_dict(combination.state_dict())
    x = good_values(2)
    for found, expected in zip(other(x), combination(x), strict=True):
        assert torch.equal(found, expected)
    assert other.usual == combination.usual != 0
