"""By how much exposures vary, and images at others."""

import numpy as np
import pytest
import torch
from PIL import Image

from vtadl.config.schema import ContextConfig
from vtadl.progress import silent
from vtadl.training.exposure import MOST_MEASURED, VARIES, exposed, exposure_spread

SIZE = (32, 32)


def saved(folder, levels, changed=None):
    """Noisy grey images, each with its level as mean; `changed` works on the pixels."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:03}.png" for number in range(len(levels))]
    for path, level in zip(paths, levels, strict=True):
        pixels = np.clip(level + rng.normal(0, 4, (*SIZE, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels if changed is None else changed(pixels)).save(path)
    return paths


def spread(paths, roi_mask=None, exposures="auto"):
    return exposure_spread(ContextConfig(exposures=exposures), paths, SIZE, roi_mask, silent)


def test_the_spread_is_that_of_the_logarithm_of_brightness(tmp_path):
    levels = [40, 60, 90, 120, 160, 200]
    expected = np.log(levels).std()
    assert spread(saved(tmp_path, levels)) == pytest.approx(expected, rel=0.02)


def test_brightness_that_hardly_varies_is_one_exposure(tmp_path):
    steady = saved(tmp_path, [100, 104, 97, 102])
    assert spread(steady) == 0
    assert spread(steady[:1]) == 0


def test_what_is_set_wins_and_reads_no_image(tmp_path):
    assert spread([tmp_path / "absent.png"], exposures="fixed") == 0


def test_only_some_of_many_images_are_read_and_they_are_spread_evenly(tmp_path):
    paths = saved(tmp_path, [50, 100] * 4)
    many = [path for path in paths for _ in range(MOST_MEASURED)]
    counts = []

    def counting(what, total):
        counts.append(total)
        return silent(what, total)

    found = exposure_spread(ContextConfig(), many, SIZE, None, counting)
    assert counts == [MOST_MEASURED]
    assert found == pytest.approx(np.log(2) / 2, rel=0.05)


def test_what_is_outside_the_region_of_interest_is_not_measured(tmp_path):
    roi_mask = np.zeros(SIZE, bool)
    roi_mask[:, :16] = True

    def steady_inside(pixels):
        pixels = pixels.copy()
        pixels[:, :16] = 100
        return pixels

    paths = saved(tmp_path, [30, 200, 90, 150], steady_inside)
    assert spread(paths) > VARIES
    assert spread(paths, roi_mask) == 0


def test_black_images_have_a_brightness(tmp_path):
    black = saved(tmp_path, [0, 100], lambda pixels: pixels * (pixels.mean() > 50))
    assert 0 < spread(black) < 5


def test_every_second_image_becomes_brighter_or_darker_in_turn_and_never_more_than_white():
    images = torch.full((6, 3, 4, 4), 0.6)
    images[:, :, 0] = 0.9
    found = exposed(images, [3, 4, 5, 6, 7, 8], 0.3)
    assert found.shape == (3, 3, 4, 4)
    for image, factor in zip(found, np.exp([0.3, -0.3, 0.3]), strict=True):
        torch.testing.assert_close(image[:, 1:], torch.full((3, 3, 4), 0.6 * factor).float())
        torch.testing.assert_close(image[:, 0], torch.full((3, 4), min(0.9 * factor, 1)).float())
    assert len(exposed(images[:1], [3], 0.3)) == 0
