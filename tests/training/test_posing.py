"""Which poses training finds parts in: parts put in order, parts that lie anyhow, and what the setting says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.roi import BLANK
from vtadl.models.build import build_model
from vtadl.models.context import ContextDetector
from vtadl.nn.poses import FLIPS, POSES
from vtadl.progress import silent
from vtadl.training.posing import chosen_poses

CPU = torch.device("cpu")
SIDE = 64


def part(seed):
    """A bracket that looks different in each of the eight poses, with noise: ``(S, S, 3)``."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), 60.0)
    image[8:56, 10:20] = (200, 180, 90)
    image[46:56, 10:40] = (90, 180, 200)
    image[12:18, 30:36] = 230
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def posed(image, number):
    """The image in one of its eight poses."""
    return np.rot90(image[:, ::-1] if number >= 4 else image, number % 4)


def saved(folder, images):
    folder.mkdir()
    paths = [folder / f"{number:02}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(np.ascontiguousarray(image)).save(path)
    return paths


def model(poses="auto"):
    settings = [f"model.image_size={SIDE}", "model.pooling=2", "model.coarsening=1", "model.mask_radius=1"]
    built = build_model(apply_settings(preset_config("context"), [*settings, f"model.poses={poses}"]))
    assert isinstance(built, ContextDetector)
    return built


def choose(paths, poses="auto", roi_mask=None):
    return chosen_poses(model(poses), paths[6:], paths[:6], roi_mask, CPU, silent)


def test_parts_that_lie_in_one_pose_are_left_as_they_are(tmp_path):
    poses, told_apart = choose(saved(tmp_path / "one", [part(seed) for seed in range(30)]))
    assert poses == []
    assert set(told_apart) == set(POSES) and min(told_apart.values()) > 0.95


def test_parts_that_lie_anyhow_are_found_to(tmp_path):
    # Each pose as often as any other, in an order that has nothing to do with it.
    numbers = np.random.default_rng(3).permutation(np.arange(96) % 8)
    poses, told_apart = choose(saved(tmp_path / "any", [posed(part(n), number) for n, number in enumerate(numbers)]))
    assert poses == list(POSES)
    assert max(told_apart.values()) < 0.7


def test_parts_that_are_turned_by_half_alone_have_a_way_up(tmp_path):
    """Flips that do not show are no sign of parts in any pose, as long as quarter turns do."""
    poses, told_apart = choose(saved(tmp_path / "half", [posed(part(n), 2 * (n * 7 % 5 > 1)) for n in range(60)]))
    assert poses == []
    assert told_apart["turned by 180"] < 0.7
    assert min(rate for pose, rate in told_apart.items() if pose != "turned by 180") > 0.9


@pytest.mark.parametrize(("turned", "expected"), [((0, 2, 4, 6), list(FLIPS)), ((0, 2), [])])
def test_oblong_parts_that_lie_in_every_way_that_they_can_are_found_to(tmp_path, turned, expected):
    images = [posed(part(n), turned[n * 5 % 7 % len(turned)]) for n in range(64)]
    wide = [np.concatenate([image, np.full_like(image, 60)], 1) for image in images]
    for image, number in zip(wide, range(64), strict=True):
        if turned[number * 5 % 7 % len(turned)] in (2, 4):  # as the whole image would be flipped
            image[:] = np.roll(image, SIDE, 1)
    settings = [f"model.image_size={2 * SIDE}", "model.aspect=2", "model.pooling=2", "model.mask_radius=1"]
    oblong = build_model(apply_settings(preset_config("context"), settings))
    paths = saved(tmp_path / "oblong", wide)
    assert chosen_poses(oblong, paths[:48], paths[48:], None, CPU, silent)[0] == expected


def test_a_setting_decides_without_a_look_at_images():
    nowhere = [Path("no such file")] * 9
    assert choose(nowhere, "fixed") == ([], {})
    assert choose(nowhere, "flips") == (list(FLIPS), {})
    assert choose(nowhere, "any") == (list(POSES), {})


def test_what_is_not_roi_mask_has_no_say(tmp_path):
    """The parts lie in one pose outside a region in which all is symmetric."""
    roi_mask = np.zeros((SIDE, SIDE), bool)
    roi_mask[24:40, 24:40] = True
    images = [np.where(roi_mask[..., None], BLANK * 255 + 40, part(seed)).astype(np.uint8) for seed in range(30)]
    paths = saved(tmp_path / "masked", images)
    assert choose(paths)[0] == []
    assert choose(paths, roi_mask=roi_mask)[0] == list(POSES)


@pytest.mark.parametrize("count", [1, 2])
def test_of_very_few_images_none_is_posed(tmp_path, count):
    paths = saved(tmp_path / "few", [part(seed) for seed in range(count)])
    assert chosen_poses(model(), paths, paths, None, CPU, silent)[0] == []
