"""Regions against scikit-image's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label, regionprops

from vtadl.decision.regions import Region, find_regions, outline


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_regions_are_those_of_scikit_image(seed, height, width, threshold):
    scores = np.random.default_rng(seed).integers(0, 8, (height, width)).astype(np.float32) / 8
    expected = {
        (p.area, (p.bbox[1], p.bbox[0], p.bbox[3], p.bbox[2]), float(p.image_intensity[p.image].max()))
        for p in regionprops(label(scores > threshold, connectivity=2), scores)
    }
    found = find_regions(scores, threshold)
    assert {(r.area, r.box, r.score) for r in found} == expected
    assert len(found) == label(scores > threshold, connectivity=2).max()
    for region in found:
        column, row = region.peak
        assert scores[row, column] == region.score
        assert region.box[0] <= column < region.box[2] and region.box[1] <= row < region.box[3]
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


def test_a_spiral_is_one_region_and_corners_connect():
    spiral = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], np.float32)
    (region,) = find_regions(spiral, 0.5)
    assert region == Region(area=17, box=(0, 0, 5, 5), peak=(0, 0), score=1.0)
    assert len(find_regions(np.eye(6, dtype=np.float32), 0.5)) == 1
    # The end of a row and the beginning of the next do not touch.
    assert len(find_regions(np.array([[0, 0, 1], [1, 0, 0]], np.float32), 0.5)) == 2


def test_nothing_above_the_threshold_and_nothing_outside_what_is_roi_mask():
    scores = np.ones((4, 4), np.float32)
    assert find_regions(scores, 1.0) == ()
    roi_mask = np.zeros((4, 4), bool)
    roi_mask[1:3, 1:3] = True
    assert find_regions(scores, 0.5, roi_mask)[0].box == (1, 1, 3, 3)


@pytest.mark.parametrize("seed", range(3))
def test_outlines_are_the_pixels_that_erosion_takes(seed):
    mask = np.random.default_rng(seed).random((20, 17)) > 0.3
    cross = ndimage.generate_binary_structure(2, 1)
    assert np.array_equal(outline(mask), mask & ~ndimage.binary_erosion(mask, cross))
