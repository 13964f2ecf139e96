"""Colours that mean the same in every picture of a run."""

import numpy as np
import pytest

from vtadl.decision.heatmap import ANCHORS, RANGE, colour_scale, eight_bit, overlay, positions, score_at, shrunk

GREY = np.full((4, 6, 3), (200, 100, 50), np.uint8)


@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("offset", [0.0, -3.0])
def test_nine_of_ten_good_images_have_no_colour(factor, offset):
    rng = np.random.default_rng(0)
    maps = [(rng.gamma(4, size=(32, 32)) + offset) * factor for _ in range(50)]
    low, high = colour_scale([np.median(m) for m in maps], [m.max() for m in maps])
    coloured = [bool((positions(m.astype(np.float32), low, high) > 0).any()) for m in maps]
    assert sum(coloured) == 5


def test_positions_rise_with_the_logarithm_of_the_distance():
    low, high = 2.0, 2.0 + 3 * RANGE
    scores = np.array([-np.inf, 0, 2, 4.99, 5, 2 + 3 * RANGE**0.5, high, 1e9, np.inf], np.float32)
    np.testing.assert_allclose(positions(scores, low, high), [0, 0, 0, 0, 0, 0.5, 1, 1, 1], atol=1e-6)


def test_score_at_is_the_inverse_of_positions():
    places = np.linspace(0, 1, 11)
    scores = np.array([score_at(place, -4.0, 9.0) for place in places])
    np.testing.assert_allclose(positions(scores, -4.0, 9.0), places, atol=1e-6)


@pytest.mark.parametrize("score", [0.0, 5.0, -1e8])
def test_good_images_that_score_all_the_same_still_give_a_scale(score):
    low, high = colour_scale([score] * 3, [score] * 3)
    assert high > low
    assert not positions(np.full((2, 2), score, np.float32), low, high).any()


def test_calm_pixels_show_the_grey_photo_and_abnormal_ones_the_colour():
    anomaly_map = np.zeros((4, 6), np.float32)
    anomaly_map[1, 2] = 1e6
    picture = overlay(GREY, anomaly_map, 0.0, 1.0)
    luminance = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    calm = np.delete(picture.reshape(-1, 3), 1 * 6 + 2, axis=0)
    assert (calm == luminance).all()
    np.testing.assert_allclose(picture[1, 2], 0.85 * np.array(ANCHORS[-1][1]) + 0.15 * luminance, atol=1)
    assert picture.dtype == np.uint8
    assert GREY[1, 2].tolist() == [200, 100, 50]


def test_nothing_is_coloured_outside_what_is_roi_mask():
    roi_mask = np.zeros((4, 6), bool)
    roi_mask[:, :3] = True
    calm, coloured = (overlay(GREY, np.full((4, 6), score, np.float32), 0.0, 1.0) for score in (0.0, 9.0))
    picture = overlay(GREY, np.full((4, 6), 9.0, np.float32), 0.0, 1.0, roi_mask)
    assert (picture[:, :3] == coloured[:, :3]).all() and (picture[:, 3:] == calm[:, 3:]).all()


def test_darker_means_more_abnormal():
    luminance = [np.dot(colour, (0.299, 0.587, 0.114)) for _, colour in ANCHORS]
    assert luminance == sorted(luminance, reverse=True)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_images_are_shown_at_their_cameras_bit_depth(bits):
    image = np.array([[[0, 2 ** (bits - 1), 2**bits - 1]]], np.uint16)
    assert eight_bit(image).tolist() == [[[0, 128, 255]]]


def test_shrunk_keeps_the_aspect_and_never_enlarges():
    assert shrunk(np.zeros((400, 100, 3), np.uint16), 200).shape == (200, 50, 3)
    assert shrunk(np.zeros((3, 5, 3), np.uint8), 200).shape == (3, 5, 3)
    assert shrunk(np.zeros((1, 900, 3), np.uint8), 100).shape == (1, 100, 3)
