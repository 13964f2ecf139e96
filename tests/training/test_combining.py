"""Which components are asked: those meant for a question, unless they are blind; and the record says why."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vtadl.data.roi import blanked
from vtadl.data.synthetic_defects import KINDS
from vtadl.density.combination import Combination
from vtadl.models.context import COMPONENTS, DETECTION, LOCALIZATION, LOCALIZATION_WITHOUT_POSITION, ContextDetector
from vtadl.progress import silent
from vtadl.training.combining import AUPRO, MOST_SYNTHETIC, combine

CPU = torch.device("cpu")
SIDE, IMAGES = 64, 7


class Stub(nn.Module):
    """Parts that see how far a pixel is from the known good image, each in units of its own; some are blind."""

    def __init__(self, good, blind=(), fitted=False):
        super().__init__()
        self.config = SimpleNamespace(smoothing=2.0)
        self.input_size, self.grid = (SIDE, SIDE), (SIDE // 4, SIDE // 4)
        self.combination = Combination([name != "memory" for name in COMPONENTS])
        self.discriminant = SimpleNamespace(fitted=fitted)
        self.good = good
        self.blind = blind
        self.seen = []
        self.generator = torch.Generator().manual_seed(0)

    def components(self, images):
        self.seen.append(images)
        distance = nn.functional.avg_pool2d(images - self.good, 4).abs().amax(1)
        noise = torch.rand(len(COMPONENTS), *distance.shape, generator=self.generator)
        values = [
            100.0**component * (distance + 0.01 * noise[component] + component) for component in range(len(COMPONENTS))
        ]
        for name in self.blind:
            values[COMPONENTS.index(name)] = noise[COMPONENTS.index(name)]
        return torch.stack(values, 1)

    joined = ContextDetector.joined
    upsampling_to = ContextDetector.upsampling_to


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    paths = [folder / f"{index}.png" for index in range(IMAGES)]
    for path in paths:
        image.save(path)
    return paths, torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def combined(images, *, blind=(), fitted=False, seed=0, roi_mask=None, where=LOCALIZATION):
    paths, good = images
    model = Stub(good, blind, fitted)
    return model, combine(model, paths, roi_mask, CPU, seed, silent, where=where)


def counted(*names):
    return {name: pytest.approx((name in names) / len(names)) for name in COMPONENTS}


def test_parts_that_work_are_asked_what_they_are_meant_for(images):
    model, record = combined(images)
    assert (record["whether"], record["where"]) == (counted(*DETECTION), counted(*LOCALIZATION))
    assert model.combination.whether.tolist() == list(record["whether"].values())
    assert model.combination.where.tolist() == list(record["where"].values())


def test_parts_whose_place_varies_are_outlined_by_large_patches_too(images):
    _, record = combined(images, where=LOCALIZATION_WITHOUT_POSITION)
    assert (record["whether"], record["where"]) == (counted(*DETECTION), counted(*LOCALIZATION, "coarse"))


def test_the_discriminant_is_asked_where_it_was_fitted(images):
    _, record = combined(images, blind=["memory"], fitted=True)
    assert (record["whether"], record["where"]) == (counted(*DETECTION), counted("gaussian", "discriminant"))


@pytest.mark.parametrize(
    ("blind", "whether", "where"),
    [
        (("gaussian",), DETECTION, ("memory",)),
        (("memory", "coarse"), ("wide", "context"), ("gaussian",)),
        (("context", "wide"), ("coarse",), LOCALIZATION),
        (("gaussian", "coarse", "wide", "context"), ("memory",), ("memory",)),  # the one that sees is asked all
        (("gaussian", "memory", "coarse", "wide"), ("context",), ("context",)),
    ],
)
def test_a_blind_part_is_not_asked(images, blind, whether, where):
    model, record = combined(images, blind=blind)
    assert (record["whether"], record["where"]) == (counted(*whether), counted(*where))
    synthetic = record["synthetic"]
    for name in blind:
        assert synthetic[name][AUPRO] < 0.6 < 0.8 < synthetic["together"][AUPRO]
    assert model.combination.scale[COMPONENTS.index("memory")] > 0


def test_where_none_works_one_counts_at_least(images):
    model, _ = combined(images, blind=COMPONENTS)
    assert model.combination.whether.sum() == pytest.approx(1)
    assert model.combination.where.sum() == pytest.approx(1)


def test_the_record_has_the_metrics_and_every_image_is_used(images):
    model, record = combined(images)
    assert record["synthetic_images"] == IMAGES
    # Synthetic defects are what the discriminant was taught.
    assert list(record["synthetic"]) == [*(name for name in COMPONENTS if name != "discriminant"), "together"]
    for metrics in record["synthetic"].values():
        assert set(metrics) == {AUPRO, "image_AUROC"}
        assert all(0.8 < value <= 1 for value in metrics.values())
    assert json.loads(json.dumps(record)) == record
    assert len(model.seen) == IMAGES * (1 + len(KINDS))
    for first in range(0, len(model.seen), 1 + len(KINDS)):
        as_it_is, *synthetic = model.seen[first : first + 1 + len(KINDS)]
        torch.testing.assert_close(as_it_is[0], model.good, atol=1e-6, rtol=0)
        assert all((one != as_it_is).any() for one in synthetic)


def test_of_many_images_all_are_scored_and_some_judge(images, tmp_path):
    (path, *_), good = images
    many = [shutil.copy(path, tmp_path / f"{number}.png") for number in range(2 * MOST_SYNTHETIC - 1)]
    model, record = combined((many, good))
    assert record["synthetic_images"] == MOST_SYNTHETIC
    assert len(model.seen) == len(many) + MOST_SYNTHETIC * len(KINDS)


def test_parts_are_brought_to_the_scale_of_good_images(images):
    model, _ = combined(images)
    x = model.combination.standardised(model.components(model.good[None]))
    assert x.mean((0, 2, 3)).abs().max() < 0.5
    assert (x.std((0, 2, 3)) - 1).abs().max() < 0.5


def test_the_seed_decides(images):
    first, again, other = (combined(images, seed=seed) for seed in (1, 1, 2))
    assert first[1] == again[1]
    assert all(torch.equal(a, b) for a, b in zip(first[0].seen, again[0].seen, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first[0].seen, other[0].seen, strict=True))


def test_nothing_outside_the_region_of_interest_is_seen(images):
    roi_mask = np.zeros((SIDE, SIDE), bool)
    roi_mask[:, : SIDE // 2] = True
    paths, good = images
    model, record = combined((paths, blanked(good[None], roi_mask)[0]), roi_mask=roi_mask)
    assert all(torch.equal(seen[..., 32:], model.seen[0][..., 32:]) for seen in model.seen)
    # What is synthetic outside is nobody's failure.
    assert record["synthetic"]["together"]["image_AUROC"] > 0.99


def test_images_without_any_texture_still_give_weights(tmp_path):
    """Some defects cannot be seen there, and are left out."""
    grey = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    grey.save(tmp_path / "grey.png")
    model, record = combined(([tmp_path / "grey.png"], torch.full((3, SIDE, SIDE), 128 / 255)))
    assert len(model.seen) == 4  # as it is, a stain, a scratch, a shaded area
    assert sum(record["where"].values()) == pytest.approx(1)
