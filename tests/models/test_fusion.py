"""The fused detector: what each component would have scored unseen, how they are joined, what cannot be."""

import numpy as np
import pytest
import torch

from helpers.backbone_weights import save_vit
from helpers.fitted import TensorImages, TensorSession, fit_to
from vtadl.backbones.build import build_backbone
from vtadl.config.schema import FusionConfig
from vtadl.density.gaussian import PositionGaussian
from vtadl.density.packed_scatter import unpack_scatter
from vtadl.density.standardisation import LogMoments
from vtadl.errors import BundleError
from vtadl.models.fusion import FusionDetector
from vtadl.models.fusion_components import GaussianComponent, MemoryComponent
from vtadl.models.protocol import Model


def images(count, seed=0, side=64):
    """One pattern, each time a little different."""
    pattern = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    coarse = pattern + 0.05 * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear").clamp(0, 1)


def embeddings(count, seed=0, width=12, grid=(4, 6)):
    return torch.randn(count, width, *grid, generator=torch.Generator().manual_seed(seed)) + torch.arange(grid[1])


@pytest.fixture(scope="module")
def detector():
    config = FusionConfig(image_size=64, size=300)
    return fit_to(FusionDetector(config, build_backbone(config)), images(24))


def test_it_is_a_detector_with_maps_of_the_inputs_size(detector):
    assert isinstance(detector, Model)
    maps = detector.anomaly_map(images(3, seed=1))
    assert maps.shape == (3, 64, 64)
    assert torch.isfinite(maps).all()


def test_the_map_is_the_mean_of_the_components(detector):
    shown = images(2, seed=2)
    torch.testing.assert_close(detector.anomaly_map(shown), detector.component_maps(shown).mean(1))
    assert detector.component_maps(shown).shape == (2, 2, 64, 64)


def test_an_images_map_does_not_depend_on_its_batch(detector):
    batch = images(4, seed=3)
    alone = torch.cat([detector.anomaly_map(image[None]) for image in batch])
    torch.testing.assert_close(detector.anomaly_map(batch), alone, rtol=1e-4, atol=1e-4)


def test_good_images_that_were_not_learned_score_about_0(detector):
    values = detector.component_maps(images(30, seed=4)).mean((0, 2, 3))
    assert (values.abs() < 1).all()


def test_a_square_that_no_good_image_has_stands_out(detector):
    changed = images(1, seed=5)
    changed[:, :, 24:40, 24:40] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    value = detector.anomaly_map(changed)[0]
    row, column = divmod(int(value.argmax()), 64)
    assert 20 <= row < 44
    assert 20 <= column < 44
    assert value.max() > detector.anomaly_map(images(30, seed=6)).amax((1, 2)).quantile(0.9)


def test_the_same_seed_fits_the_same_to_the_bit(detector):
    config = FusionConfig(image_size=64, size=300)
    again = fit_to(FusionDetector(config, build_backbone(config)), images(24))
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, detector.state_dict()[name]), name


def test_every_eighth_image_is_scored_by_a_gaussian_of_the_others_and_then_learned():
    x = embeddings(20)
    component = GaussianComponent(12, (4, 6))
    fitting = component.fitting(20, seed=0)
    for part in x.split(3):
        fitting.add(part)
    fitting.finish()
    pooled = torch.nn.functional.avg_pool2d(x, 2)
    learned = torch.arange(20) % 8 != 0
    others, everything = (PositionGaussian(12, (2, 3)) for _ in range(2))
    for density, part in ((others, pooled[learned]), (everything, pooled)):
        moments = density.moments()
        moments.update(part)
        density.fit_moments(moments)
    torch.testing.assert_close(fitting.unseen(()), others(pooled[~learned]), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(component.density(pooled), everything(pooled), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cosine", [False, True])
def test_a_memory_left_out_searches_all_patches_but_the_images_own(cosine):
    x = embeddings(6)
    component = MemoryComponent(12, (4, 6), 10_000, cosine=cosine)
    fitting = component.fitting(6, seed=0)
    for image in x:
        fitting.add(image[None])
    fitting.finish()
    assert len(component.density.patches) == 6 * 24
    own = component.density(x[2:3])
    assert float(own.max()) < 1e-2  # it knows itself, in half precision
    left_out = fitting.unseen([(2, x[2:3])])
    rows = component.density._comparable(x.permute(0, 2, 3, 1).flatten(0, 2), None)
    others = torch.cat([rows[: 2 * 24], rows[3 * 24 :]])
    nearest = torch.cdist(rows[2 * 24 : 3 * 24], others).amin(1).view(1, 4, 6)
    expected = nearest.square() / 2 if cosine else nearest / 12**0.5
    torch.testing.assert_close(left_out, expected, rtol=5e-3, atol=5e-3)


def test_of_one_image_nothing_is_unseen():
    for component in (MemoryComponent(12, (4, 6), 100, cosine=False), GaussianComponent(12, (4, 6))):
        fitting = component.fitting(1, seed=0)
        fitting.add(embeddings(1))
        fitting.finish()
        assert len(fitting.unseen([(0, embeddings(1))])) == 0


@pytest.mark.parametrize("part", [slice(20, 22), slice(10, 50)], ids=["smaller than a patch", "most"])
def test_a_region_of_interest_of_any_size_can_be_learned(part):
    config = FusionConfig(image_size=64, size=100)
    detector = FusionDetector(config, build_backbone(config))
    good = TensorImages(images(12))
    good.roi_mask = np.zeros((64, 64), bool)
    good.roi_mask[part, part] = True
    detector.fit(good, TensorSession(0))
    assert torch.isfinite(detector.eval().anomaly_map(images(1, seed=9))).all()


def test_one_good_image_is_enough():
    config = FusionConfig(image_size=64, size=100)
    detector = fit_to(FusionDetector(config, build_backbone(config)), images(1))
    assert torch.isfinite(detector.anomaly_map(images(1, seed=9))).all()


def test_an_odd_grid_is_not_pooled():
    assert GaussianComponent(4, (5, 6)).grid == (5, 6)
    assert GaussianComponent(4, (6, 8)).grid == (3, 4)


def test_a_principal_projection_keeps_distances_within_the_subspace():
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(500, 3, generator=generator) @ torch.randn(3, 80, generator=generator)
    component = MemoryComponent(80, (2, 2), 500, cosine=False)
    component.density.fit(flat.clone(), generator)
    assert component.density.patches.shape == (500, 64)
    new = flat[:4].T.reshape(1, 80, 2, 2) + 0.0
    assert float(component.density(new).max()) < 5e-3


TAUGHT = FusionConfig(image_size=64, size=300)


def taught(*parts):
    """A detector that was fitted to the first part and taught the others, and what it learned."""
    detector = FusionDetector(TAUGHT, build_backbone(TAUGHT))
    learned = detector.fit(TensorImages(parts[0]), TensorSession(0)).learned
    for part in parts[1:]:
        learned = detector.teach(TensorImages(part), TensorSession(0), learned).learned
    return detector.eval(), learned


@pytest.mark.parametrize("sizes", [(18, 6), (1, 23), (23, 1), (8, 8, 8)])
def test_teaching_is_training_on_all(sizes):
    everything = images(24)
    whole, of_whole = taught(everything)
    some, of_some = taught(*everything.split(sizes))
    of_both = [
        {name.removeprefix("components.0."): value for name, value in learned.items() if ".0." in name}
        for learned in (of_whole, of_some)
    ]
    scale = whole.components[0].density.scale
    torch.testing.assert_close(some.components[0].density.mean, whole.components[0].density.mean, rtol=1e-6, atol=1e-6)
    deviations = of_both[0]["deviation"]
    difference = (unpack_scatter(of_both[0]) - unpack_scatter(of_both[1])).abs()
    assert float((difference / (deviations[:, :, None] * deviations[:, None])).max()) < 4e-6
    torch.testing.assert_close(some.components[0].density.scale, scale, rtol=1e-5, atol=0)
    assert int(of_some["images"]) == int(of_both[1]["count"]) == 24
    shown = images(20, seed=7)
    shown[10:, :, 24:40, 24:40] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    scores = [d.anomaly_map(shown).amax((1, 2)) for d in (whole, some)]
    # The same defects stand out. The scale may differ: fewer images are farther from what is unseen.
    assert all(float(one[10:].min()) > float(one[:10].max()) for one in scores)
    assert float(torch.corrcoef(torch.stack(scores))[0, 1]) > 0.98


def test_memories_over_a_second_backbone_are_taught_too(tmp_path):
    vit = f"vit:{save_vit(tmp_path / 'vit.safetensors')}"
    config = FusionConfig(image_size=64, size=300, second_backbone=vit, second_blocks=(1, 2), second_size=64)
    some, whole = (
        FusionDetector(config, build_backbone(config), build_backbone(config.second)).eval() for _ in range(2)
    )
    everything = images(24)
    learned = some.fit(TensorImages(everything[:16]), TensorSession(0)).learned
    learned = some.teach(TensorImages(everything[16:]), TensorSession(0), learned).learned
    whole.fit(TensorImages(everything), TensorSession(0))
    assert [len(one.density.patches) for one in some.components[1:]] == [300] * 3
    shown = images(20, seed=7)
    shown[10:, :, 24:40, 24:40] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    scores = torch.stack([detector.anomaly_map(shown).amax((1, 2)) for detector in (whole, some)])
    assert float(torch.corrcoef(scores)[0, 1]) > 0.95
    with pytest.raises(BundleError, match=r"components\.3"):
        some.teach(TensorImages(everything), TensorSession(0), {k: v for k, v in learned.items() if ".3." not in k})


def test_a_part_that_looked_wrong_is_right_once_it_was_taught():
    def green(count, seed):
        shown = images(count, seed)
        shown[:, 1, 16:48, 16:48] = 0.9
        return shown

    before, _ = taught(images(24))
    after, _ = taught(images(24), green(12, seed=11))
    new, plain = green(6, seed=12), images(6, seed=13)
    scores = [[d.anomaly_map(shown).amax((1, 2)).mean() for shown in (new, plain)] for d in (before, after)]
    assert float(scores[1][0] - scores[1][1]) < 0.25 * float(scores[0][0] - scores[0][1])


def test_what_good_images_score_unseen_is_merged_by_their_number():
    logs = [LogMoments.of(embeddings(n, seed=n)[:, 0].exp(), float(10 * n)) for n in (2, 3)]
    both = LogMoments.of(torch.cat([embeddings(n, seed=n)[:, 0].exp() for n in (2, 3)]), 50.0)
    merged = logs[0].merged(logs[1])
    torch.testing.assert_close(merged.mean, both.mean)
    torch.testing.assert_close(merged.square, both.square)
    assert (merged.scored, merged.weight) == (5, 50.0)
    assert LogMoments.of(torch.empty(0, 4, 6), 9.0).merged(both).weight == 50.0
