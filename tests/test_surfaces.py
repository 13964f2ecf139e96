"""Parts and surfaces are told apart by what the place of a patch says of it."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from vtadl.config import PART_SIZE, SURFACE_SIZE
from vtadl.density.gaussian import GaussianMoments
from vtadl.presets import PRESETS
from vtadl.progress import silent
from vtadl.surfaces import MOST_MEASURED, chosen_size, position_share

CPU = torch.device("cpu")
CONTEXT = PRESETS["context"].model


def moments(embeddings):
    found = GaussianMoments()
    for batch in embeddings.split(7):
        found.update(batch)
    return found


def noise(count, seed=0):
    return torch.randn(count, 3, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [4, 20, 200])
def test_the_share_is_that_of_the_places_own_means(count):
    """Places of a deviation of 2, images of 1: 4 of 5, however many images; without a correction 0.85 with 4."""
    places = 2 * torch.randn(1, 3, 40, 50, generator=torch.Generator().manual_seed(1))
    images = torch.randn(count, 3, 40, 50, generator=torch.Generator().manual_seed(2))
    assert position_share(moments(places + images), (40, 50), None) == pytest.approx(0.8, abs=0.01)


def test_a_surface_and_a_still_are_the_two_ends():
    assert position_share(moments(noise(200)), (5, 6), None) < 0.01
    assert position_share(moments(noise(1).expand(10, -1, -1, -1)), (5, 6), None) == pytest.approx(1)
    assert position_share(moments(noise(1)), (5, 6), None) == 1.0
    assert position_share(moments(torch.zeros(4, 3, 5, 6)), (5, 6), None) == 0


def test_the_share_equals_a_slow_loop():
    x = (noise(30) + 2 * noise(1, 1)).double()
    shares = []
    for channel in range(3):
        within = np.mean([np.var(x[:, channel, r, c].numpy(), ddof=1) for r in range(5) for c in range(6)])
        means = [x[:, channel, r, c].mean().item() for r in range(5) for c in range(6)]
        between = np.var(means) - within / 30
        shares.append(between / (between + within))
    assert position_share(moments(x.float()), (5, 6), None) == pytest.approx(np.mean(shares), rel=1e-4)


def test_what_is_outside_does_not_count():
    still = torch.zeros(40, 3, 5, 6)
    still[..., 3:] = noise(40)[..., 3:]
    still[..., :3] = 9
    inside = np.zeros((5, 6), bool)
    inside[:, 3:] = True
    assert position_share(moments(still), (5, 6), None) > 0.9
    assert position_share(moments(still), (5, 6), inside) < 0.05


def saved(folder, make, count=6):
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(make(rng)).save(path)
    return paths


def part(rng):
    """A disc with a hole, always in its place."""
    rows, columns = np.mgrid[0:96, 0:96] - 47.5
    distance = np.hypot(rows, columns)
    grey = np.where((distance < 36) & (distance > 12), 180, 40) + rng.normal(0, 3, (96, 96))
    return np.clip(grey, 0, 255).astype(np.uint8)


def surface(rng):
    """A weave that begins anywhere."""
    rows, columns = np.mgrid[0:96, 0:96] + rng.uniform(0, 20, (2, 1, 1))
    grey = 120 + 40 * np.sin(rows / 3) * np.sin(columns / 2) + rng.normal(0, 12, (96, 96))
    return np.clip(grey, 0, 255).astype(np.uint8)


def test_parts_are_seen_smaller_than_surfaces(tmp_path):
    (tmp_path / "parts").mkdir(), (tmp_path / "surfaces").mkdir()
    parts, surfaces = saved(tmp_path / "parts", part), saved(tmp_path / "surfaces", surface)
    assert chosen_size(CONTEXT, parts, None, CPU, silent) == PART_SIZE
    assert chosen_size(CONTEXT, surfaces, None, CPU, silent) == SURFACE_SIZE


def test_only_some_of_many_images_are_read(tmp_path):
    paths = saved(tmp_path, part, 2) * MOST_MEASURED
    counts = []

    def counting(what, total):
        counts.append(total)
        return silent(what, total)

    chosen_size(dataclasses.replace(CONTEXT, aspect=1.0), paths, None, CPU, counting)
    assert counts == [MOST_MEASURED]
