"""The memory against brute force."""

import pytest
import torch

from helpers.clusters import clustered, generator
from vtadl.density import memory as memory_module
from vtadl.density.memory import PatchMemory, SampledPatches, places
from vtadl.errors import DataError

pytestmark = pytest.mark.native


def test_memory_scores_the_grid():
    density = PatchMemory(6, 40)
    density.fit(clustered(500, 6), generator())
    x = torch.randn(2, 6, 3, 5, generator=generator(1)) * 4
    scores = density(x)
    assert scores.shape == (2, 3, 5)
    patch = (x[1, :, 2, 4] / density.scale)[None]
    expected = (density.patches.float() - patch).norm(dim=1).min() / 6**0.5
    assert float(scores[1, 2, 4]) == pytest.approx(float(expected), rel=1e-5)


def test_by_cosine_only_directions_count():
    density = PatchMemory(6, 40, cosine=True)
    density.fit(clustered(500, 6), generator())
    x = torch.randn(2, 6, 3, 5, generator=generator(1))
    scores = density(x)
    similarity = torch.nn.functional.cosine_similarity(density.patches.float(), x[1, :, 2, 4], dim=1)
    assert float(scores[1, 2, 4]) == pytest.approx(1 - float(similarity.max()), abs=1e-3)
    torch.testing.assert_close(density(7 * x), scores)


def test_fewer_patches_than_it_may_hold_are_all_kept_and_load():
    density = PatchMemory(6, 1000)
    x = clustered(30, 6)
    density.fit(x.clone(), generator())
    assert len(density.patches) == 30
    other = PatchMemory(6, 1000)
    other.load_state_dict(density.state_dict())
    grid = x.T.reshape(1, 6, 5, 6)
    assert torch.equal(other(grid), density(grid))
    assert float(density(grid).max()) < 1e-2


def test_a_memory_over_its_size_is_refused():
    density = PatchMemory(6, 10)
    state = {"scale": torch.ones(6), "patches": torch.zeros(11, 6, dtype=torch.float16)}
    with pytest.raises(RuntimeError, match="size mismatch"):
        density.load_state_dict(state)


def test_a_memory_that_resumes_covers_what_it_had_and_what_is_new():
    old, new = clustered(400, 6), clustered(300, 6) + 20
    density, whole = PatchMemory(6, 60), PatchMemory(6, 60)
    density.fit(old.clone(), generator())
    scale = density.scale.clone()
    density.extend(new, generator())
    assert len(density.patches) == 60 and torch.equal(density.scale, scale)
    # As well as one that saw all of it at once, on the scale of the first.
    whole.fit(torch.cat([old, new]), generator())
    both = torch.cat([old, new]).T.reshape(1, 6, 7, 100)
    whole.patches, whole.scale = (whole.patches.float() * whole.scale / scale).half(), scale
    assert density(both).max() < 1.2 * whole(both).max()
    assert density(both).mean() < 1.1 * whole(both).mean()


def test_a_memory_with_room_keeps_all():
    density = PatchMemory(6, 1000)
    x, more = clustered(30, 6), clustered(10, 6) + 9
    density.fit(x.clone(), generator())
    density.extend(more, generator())
    assert density(torch.cat([x, more]).T.reshape(1, 6, 5, 8)).max() < 2e-2


def test_what_was_drawn_is_not_drawn_again():
    sampled = SampledPatches(2, generator())
    first, second = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    sampled.add(first)
    assert sampled.drawn()[0].sum() == 0
    sampled.add(second)
    patches, _, where = sampled.drawn()
    assert patches.shape == (4, 3) and patches.all() and len(where) == 4
    assert len(sampled.drawn()[0]) == 0


def test_no_patches_are_an_error():
    with pytest.raises(DataError, match="at least one good image"):
        PatchMemory(6, 10).fit(torch.empty(0, 6), generator())


def drawn_from(images, seed=0):
    sampled = SampledPatches(len(images), generator(seed))
    for batch in images.split(2):
        sampled.add(batch)
    return sampled.drawn()


@pytest.mark.parametrize("cosine", [False, True])
def test_position_counts_as_a_plain_loop_says(cosine):
    images = torch.randn(3, 6, 4, 5, generator=generator(2))
    density = PatchMemory(6, 1000, cosine=cosine, position_weight=1.5)
    density.fit(*drawn_from(images))
    x = torch.randn(1, 6, 4, 5, generator=generator(3))
    scores = density(x)
    scale = torch.ones(6) if cosine else images.transpose(0, 1).flatten(1).std(1, correction=0)
    for row in range(4):
        for column in range(5):
            best = torch.inf
            for image in images:
                for other_row in range(4):
                    for other_column in range(5):
                        here, there = x[0, :, row, column] / scale, image[:, other_row, other_column] / scale
                        if cosine:
                            here, there = here / here.norm(), there / there.norm()
                        shift = torch.tensor([(row - other_row) * 2 / 3, (column - other_column) * 2 / 4])
                        if cosine:
                            score = 1 - here @ there + 1.5 * shift.square().sum()
                        else:
                            score = ((here - there).square().mean() + (1.5 * shift).square().sum()).sqrt()
                        best = min(best, float(score))
            assert float(scores[0, row, column]) == pytest.approx(best, rel=2e-3)


def test_without_a_weight_places_change_nothing():
    images = torch.randn(4, 6, 5, 5, generator=generator(2))
    patches, _, where = drawn_from(images)
    plain, told = PatchMemory(6, 30), PatchMemory(6, 30, position_weight=0.0)
    plain.fit(patches.clone(), generator())
    told.fit(patches, generator(), where)
    assert plain.patches.shape == (30, 6)
    assert torch.equal(plain.patches, told.patches)
    assert torch.equal(plain(images), told(images))


def test_a_patch_out_of_its_place_is_noticed_by_weight_alone():
    images = torch.randn(1, 6, 4, 4, generator=generator(2))
    moved = images.flip(2)
    anywhere, here = PatchMemory(6, 100), PatchMemory(6, 100, position_weight=2.0)
    for density in (anywhere, here):
        density.fit(*drawn_from(images))
        assert float(density(images).max()) < 0.01
    assert float(anywhere(moved).max()) < 0.01
    assert float(here(moved).min()) > 0.5


def test_places_load_with_the_patches():
    images = torch.randn(2, 6, 4, 4, generator=generator(2))
    density, other = (PatchMemory(6, 1000, position_weight=2.0) for _ in range(2))
    density.fit(*drawn_from(images))
    assert density.patches.shape == (32, 8)
    other.load_state_dict(density.state_dict())
    x = torch.randn(2, 6, 4, 4, generator=generator(3))
    assert torch.equal(other(x), density(x))
    with pytest.raises(RuntimeError, match="size mismatch"):
        PatchMemory(6, 1000).load_state_dict(density.state_dict())


def test_places_go_from_border_to_border():
    expected = [[-1.0, -1.0], [-1.0, 1.0], [0.0, -1.0], [0.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    assert places(3, 2, torch.device("cpu")).tolist() == expected


def test_of_many_patches_each_image_gives_an_equal_share_with_their_places(monkeypatch):
    monkeypatch.setattr(memory_module, "CANDIDATES", 10)
    where = places(4, 4, torch.device("cpu"))
    images = torch.stack([torch.full((16,), float(n)) for n in range(3)])[:, None].repeat(1, 3, 1)
    images[:, 1:] = where.T
    patches, _, found = drawn_from(images.view(3, 3, 4, 4))
    assert patches[:, 0].tolist() == [0.0] * 3 + [1.0] * 3 + [2.0] * 3
    assert torch.equal(patches[:, 1:], found)
    assert len(patches.unique(dim=0)) == 9


@pytest.mark.parametrize("grid", [(13, 9), (4, 4), (2, 3), (1, 1)])
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("weight", [0.3, 3.0, 30.0])
def test_with_places_the_nearest_of_all_is_found(grid, cosine, weight):
    """Patches that are found near their place, and those whose nearest is somewhere else."""
    images = torch.randn(12, 6, *grid, generator=generator(2))
    density = PatchMemory(6, 1000, cosine=cosine, position_weight=weight)
    density.fit(*drawn_from(images))
    x = torch.cat([images[:2] + 0.05, images.flip(2, 3)[:2], 9 * torch.randn(1, 6, *grid, generator=generator(3))])
    rows = density._comparable(x.permute(0, 2, 3, 1).flatten(0, 2), places(*grid, x.device).repeat(len(x), 1))
    whole = torch.cdist(rows.double(), density.patches.double()).amin(1).view(len(x), *grid)
    expected = whole.square() / 2 if cosine else whole / 6**0.5
    torch.testing.assert_close(density(x).double(), expected, atol=1e-5, rtol=1e-5)


def test_with_places_other_grids_and_memories_are_known():
    corner, elsewhere = torch.randn(1, 6, 3, 3, generator=generator(2)), torch.randn(1, 6, 9, 9, generator=generator(3))
    density = PatchMemory(6, 1000, position_weight=2.0)
    where = torch.full((9, 2), -1.0)
    density.fit(corner.flatten(2)[0].T.clone(), generator(), where)
    found = density(elsewhere)
    assert found.isfinite().all() and found[0, -1, -1] > 4  # two sides away, each of the weight's 2
    assert density(corner).shape == (1, 3, 3)
    density.fit(corner.flatten(2)[0].T.clone(), generator(), -where)
    assert density(elsewhere)[0, -1, -1] < found[0, -1, -1]
