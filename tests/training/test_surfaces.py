"""Parts and surfaces are told apart by what the place of a patch says of it, and by how patches are spread."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from sklearn.decomposition import PCA

from vtadl.config.presets import PRESETS
from vtadl.config.schema import PART_SIZE, SURFACE_SIZE
from vtadl.progress import silent
from vtadl.training.surfaces import MOST_MEASURED, Scene, area_share, chosen_size, kurtosis, position_share, scene_of

CPU = torch.device("cpu")
CONTEXT = PRESETS["context"].model


def noise(count, seed=0):
    return torch.randn(count, 3, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [4, 20, 200])
def test_the_share_is_that_of_the_places_own_means(count):
    """Places of a deviation of 2, images of 1: 4 of 5, however many images; without a correction 0.85 with 4."""
    places = 2 * torch.randn(1, 3, 40, 50, generator=torch.Generator().manual_seed(1))
    images = torch.randn(count, 3, 40, 50, generator=torch.Generator().manual_seed(2))
    assert position_share((places + images).flatten(2)) == pytest.approx(0.8, abs=0.01)


def test_a_surface_and_a_still_are_the_two_ends():
    assert position_share(noise(200).flatten(2)) < 0.01
    assert position_share(noise(1).expand(10, -1, -1, -1).flatten(2)) == pytest.approx(1)
    assert position_share(noise(1).flatten(2)) == 1.0
    assert position_share(torch.zeros(4, 3, 30)) == 0


def test_the_share_equals_a_slow_loop():
    x = (noise(30) + 2 * noise(1, 1)).double()
    shares = []
    for channel in range(3):
        within = np.mean([np.var(x[:, channel, r, c].numpy(), ddof=1) for r in range(5) for c in range(6)])
        means = [x[:, channel, r, c].mean().item() for r in range(5) for c in range(6)]
        between = np.var(means) - within / 30
        shares.append(between / (between + within))
    assert position_share(x.float().flatten(2)) == pytest.approx(np.mean(shares), rel=1e-4)


def test_what_is_outside_does_not_count():
    still = torch.zeros(40, 3, 5, 6)
    still[..., 3:] = noise(40)[..., 3:]
    still[..., :3] = 9
    inside = np.zeros((5, 6), bool)
    inside[:, 3:] = True
    assert scene_of(still, None).position_share > 0.9
    assert scene_of(still, inside).position_share < 0.05
    assert scene_of(still, None).kurtosis < 2 < scene_of(still, inside).kurtosis


def test_kurtosis_is_that_of_the_first_principal_component():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 9, 50, generator=generator) * torch.rand(1, 9, 1, generator=generator).exp()
    x[:, 2] += x[:, 1] ** 3
    x -= x.mean((0, 2), keepdim=True)
    component = PCA(1).fit_transform(x.transpose(1, 2).reshape(-1, 9).double().numpy())
    assert kurtosis(x) == pytest.approx(stats.kurtosis(component, fisher=False).item(), rel=1e-3)


def test_kurtosis_tells_one_heap_of_patches_from_two():
    generator = torch.Generator().manual_seed(0)
    grain = torch.randn(40, 8, 20, 20, generator=generator)
    assert scene_of(grain, None).kurtosis == pytest.approx(3, abs=0.1)
    exposures = torch.randn(40, 1, 1, 1, generator=generator) * 5
    assert scene_of(grain + exposures, None).kurtosis == pytest.approx(scene_of(grain, None).kurtosis, rel=1e-3)
    areas = torch.randint(0, 2, (40, 1, 20, 20), generator=generator) * 9.0
    assert scene_of(grain + areas, None).kurtosis < 1.5


def test_area_share_equals_a_slow_loop():
    values = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(0)).double()
    values[:, :4, :4] += 1
    areas = [[values[n, r : r + 4, c : c + 4].mean() for r in (0, 4) for c in (0, 4, 8)] for n in range(3)]
    expected = np.mean([np.var(of_one) for of_one in areas]) / np.mean([np.var(image.numpy()) for image in values])
    assert area_share(values) == pytest.approx(expected)


def test_nothing_that_varies_is_no_surface():
    flat = scene_of(torch.ones(4, 3, 5, 6), None)
    assert (flat.position_share, flat.kurtosis, flat.area_share, flat.is_surface) == (0, 0, 0, False)


@pytest.mark.parametrize(
    ("share", "tails", "areas", "is_surface"),
    [(0.2, 4, 0.3, True), (0.9, 4, 0.3, False), (0.2, 2, 0.3, False), (0.2, 4, 0.7, False)],
)
def test_a_surface_has_neither_places_nor_areas(share, tails, areas, is_surface):
    scene = Scene(position_share=share, kurtosis=tails, area_share=areas)
    assert (scene.place_tells, scene.is_surface) == (share > 0.5, is_surface)


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
    """A grain, with a few stronger ones."""
    grain = ndimage.gaussian_filter(rng.standard_t(3, (96, 96)), (1, 2), mode="wrap")
    return np.clip(128 + 60 * grain, 0, 255).astype(np.uint8)


def test_parts_are_seen_smaller_than_surfaces(tmp_path):
    (tmp_path / "parts").mkdir(), (tmp_path / "surfaces").mkdir()
    parts, surfaces = saved(tmp_path / "parts", part), saved(tmp_path / "surfaces", surface)
    assert chosen_size(CONTEXT, parts, None, CPU, silent) == PART_SIZE
    assert chosen_size(CONTEXT, surfaces, None, CPU, silent) == SURFACE_SIZE


def shifted(rng):
    """The disc, anywhere."""
    return np.roll(part(rng), rng.integers(0, 96, 2), (0, 1))


def test_parts_whose_place_varies_are_no_surface(tmp_path):
    assert chosen_size(CONTEXT, saved(tmp_path, shifted, 12), None, CPU, silent) == PART_SIZE


def test_only_some_of_many_images_are_read(tmp_path):
    paths = saved(tmp_path, part, 2) * MOST_MEASURED
    counts = []

    def counting(what, total):
        counts.append(total)
        return silent(what, total)

    chosen_size(dataclasses.replace(CONTEXT, aspect=1.0), paths, None, CPU, counting)
    assert counts == [MOST_MEASURED]
