"""Standardised log distances against NumPy, and what few images, empty places and exact matches do to them."""

import numpy as np
import torch

from vtadl.density.standardisation import CALM, LEAST_DISTANCE, MODERATION, LogMoments, Standardisation

EVERYTHING = torch.ones(5, 6, dtype=torch.bool)


def distances(count=40, seed=0):
    """Log-normal; the left half of each map is always three times as far as the right one."""
    generator = torch.Generator().manual_seed(seed)
    values = (0.2 * torch.randn(count, 5, 6, generator=generator)).exp()
    values[..., :3] *= 3
    return values


def test_what_it_was_fitted_to_has_mean_0_and_deviation_1():
    for by_position in (False, True):
        standardisation = Standardisation((5, 6), by_position=by_position)
        standardisation.fit(LogMoments.of(distances(), 1.0), EVERYTHING)
        values = standardisation(distances())
        assert abs(float(values.mean())) < 1e-5
        assert abs(float(values.std(correction=0)) - 1) < 1e-5


def test_one_mean_and_deviation_for_all_are_those_of_the_logarithms():
    standardisation = Standardisation((5, 6), by_position=False)
    standardisation.fit(LogMoments.of(distances(), 1.0), EVERYTHING)
    logs = np.log(distances().numpy().astype(np.float64))
    expected = (logs - logs.mean()) / logs.std()
    np.testing.assert_allclose(standardisation(distances()).numpy(), expected.clip(CALM), rtol=1e-4, atol=1e-5)


def test_by_position_a_place_that_is_always_far_looks_no_more_unusual_than_others():
    plain, positioned = (Standardisation((5, 6), by_position=by) for by in (False, True))
    for standardisation in (plain, positioned):
        standardisation.fit(LogMoments.of(distances(), 1.0), EVERYTHING)
    new = distances(20, seed=1)
    gaps = [float(s(new)[..., 0].mean() - s(new)[..., 5].mean()) for s in (plain, positioned)]
    assert gaps[0] > 1.5
    assert abs(gaps[1]) < 0.3


def test_a_position_that_hardly_varies_is_moderated_by_the_others():
    values = distances()
    values[:, :, 5] = 1.0
    standardisation = Standardisation((5, 6), by_position=True)
    standardisation.fit(LogMoments.of(values, 1.0), EVERYTHING)
    deviation = standardisation.deviation
    assert float(deviation.min()) > MODERATION / (1 + MODERATION) * 0.8 * float(deviation.mean())


def test_only_patches_inside_count():
    inside = EVERYTHING.clone()
    inside[0] = False
    values = distances()
    values[:, 0] = 0.0  # blanked: every image is the same there
    whole, cut = Standardisation((5, 6), by_position=False), Standardisation((4, 6), by_position=False)
    whole.fit(LogMoments.of(values, 1.0), inside)
    cut.fit(LogMoments.of(values[:, 1:], 1.0), EVERYTHING[1:])
    torch.testing.assert_close(whole(values)[:, 1:], cut(values[:, 1:]))
    assert (whole(values)[:, 0] == CALM).all()


def test_a_single_image_changes_nothing_and_an_exact_match_is_finite():
    standardisation = Standardisation((5, 6), by_position=True)
    standardisation.fit(LogMoments.of(distances(1), 1.0), EVERYTHING)
    new = distances(2, seed=3)
    torch.testing.assert_close(standardisation(new), new.log().clamp_min(CALM))
    assert (standardisation(torch.zeros(1, 5, 6)) == CALM).all()


def test_images_without_any_scatter_leave_it_finite():
    standardisation = Standardisation((5, 6), by_position=True)
    standardisation.fit(LogMoments.of(torch.full((4, 5, 6), LEAST_DISTANCE), 1.0), EVERYTHING)
    assert torch.isfinite(standardisation(distances(2))).all()
