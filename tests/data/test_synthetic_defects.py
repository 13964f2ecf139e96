"""Synthetic defects: visible, marked exactly, decided by a generator."""

import numpy as np
import pytest
from scipy import ndimage

from vtadl.data.synthetic_defects import KINDS, LEAST_PIXELS, VISIBLE, add_defect, add_each_defect


def textured(seed=0, height=64, width=64):
    image = np.random.default_rng(seed).uniform(0, 1, (3, height, width))
    return np.clip(ndimage.gaussian_filter(image, (0, 1, 1)) * 3 - 1, 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_is_visible_and_marked(kind):
    for seed in range(8):
        image = textured(seed)
        before = image.copy()
        changed, mask = add_defect(image, kind, np.random.default_rng(seed))
        assert np.array_equal(image, before)
        assert changed.shape == image.shape and changed.dtype == np.float32
        assert mask.shape == image.shape[1:] and mask.dtype == np.bool_
        assert changed.min() >= 0 and changed.max() <= 1
        assert LEAST_PIXELS <= mask.sum() < mask.size / 2
        difference = np.abs(changed - image).max(0)
        # Closing fills small holes: the mask holds every visible change, and next to nothing else.
        assert mask[difference > VISIBLE].all()
        assert np.array_equal(mask, mask | ndimage.binary_closing(difference > VISIBLE, iterations=2))
        assert (difference[mask] > VISIBLE).mean() > 0.5
        assert difference[~mask].max() <= VISIBLE


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides(kind):
    image = textured()
    first, again, other = (add_defect(image, kind, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_defects_are_made_inside_alone_and_what_cannot_be_seen_is_left_out():
    image, inside = textured(), np.zeros((64, 64), bool)
    inside[:, 20:] = True
    for kind, changed, mask in add_each_defect(image, KINDS, inside, (5,)):
        whole, everywhere = add_defect(image, kind, np.random.default_rng((5, list(KINDS).index(kind))))
        assert np.array_equal(changed[:, :, 20:], whole[:, :, 20:]) and np.array_equal(mask, everywhere & inside)
        assert np.array_equal(changed[:, :, :20], image[:, :, :20])
    plain = np.full((3, 48, 48), 0.4, np.float32)
    seen = [kind for kind, *_ in add_each_defect(plain, KINDS, np.ones((48, 48), bool), (5,))]
    assert seen == ["stain", "scratch", "shaded"]


def test_kinds_differ():
    image = textured()
    assert len({add_defect(image, kind, np.random.default_rng(0))[0].tobytes() for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", ["foreign", "misplaced", "smear"])
def test_on_a_plain_image_nothing_that_moves_or_wipes_is_seen(kind):
    assert add_defect(np.full((3, 48, 48), 0.4, np.float32), kind, np.random.default_rng(0)) is None


@pytest.mark.parametrize("kind", ["stain", "scratch"])
def test_on_a_plain_image_something_new_is_seen(kind):
    assert add_defect(np.full((3, 48, 48), 0.4, np.float32), kind, np.random.default_rng(0)) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_images_need_not_be_square(kind):
    changed, mask = add_defect(textured(1, 48, 80), kind, np.random.default_rng(0))
    assert changed.shape == (3, 48, 80) and mask.shape == (48, 80)
