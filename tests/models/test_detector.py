"""Training-free detectors as modules: shapes, independence of batches, settings that cannot be."""

import pytest
import torch

from helpers.fitted import fit_to
from vtadl.backbones.build import build_backbone
from vtadl.config.schema import GaussianConfig, MemoryConfig
from vtadl.errors import ConfigError
from vtadl.models.detector import GaussianDetector, MemoryDetector
from vtadl.models.protocol import Model


def images(count, seed=0, side=64):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def built(kind, config):
    return kind(config, build_backbone(config))


@pytest.fixture(scope="module", params=["gaussian", "memory"])
def detector(request):
    model = {
        "gaussian": lambda: built(GaussianDetector, GaussianConfig(image_size=64)),
        "memory": lambda: built(MemoryDetector, MemoryConfig(image_size=64, size=200)),
    }[request.param]()
    return fit_to(model, images(12))


def test_anomaly_maps_have_the_inputs_size(detector):
    assert isinstance(detector, Model)
    maps = detector.anomaly_map(images(3, seed=1))
    assert maps.shape == (3, 64, 64)
    assert torch.isfinite(maps).all()
    assert (maps >= 0).all()


def test_an_images_map_does_not_depend_on_its_batch(detector):
    batch = images(4, seed=2)
    alone = torch.cat([detector.anomaly_map(image[None]) for image in batch])
    torch.testing.assert_close(detector.anomaly_map(batch), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [0, 32, 100, 65])
def test_sides_that_leave_no_grid_are_refused(side):
    with pytest.raises(ConfigError, match="expected a multiple of 32, at least 64"):
        built(GaussianDetector, GaussianConfig(image_size=side))


def test_the_backbone_stays_frozen(detector):
    assert not any(parameter.requires_grad for parameter in detector.backbone.parameters())
