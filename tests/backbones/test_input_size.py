"""The size of a network's input: squares stay what they were, oblongs keep the area and what backbone and pooling
take."""

import pytest
import torch

from helpers.backbone_weights import save_vit
from helpers.fitted import fit_to
from vtadl.backbones.build import build_backbone
from vtadl.backbones.input_size import MIN_SIDE, grid_shape, input_size
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.config.schema import BackboneConfig, ContextConfig, GaussianConfig, MemoryConfig
from vtadl.errors import ConfigError
from vtadl.models.build import build_model
from vtadl.models.detector import GaussianDetector


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [
        (None, (288, 288)),
        (1.0, (288, 288)),
        (1.02, (288, 288)),
        (2.52, (192, 448)),  # 181.4 x 457.2
        (1 / 2.52, (448, 192)),
        (1.5, (224, 352)),  # 235.2 x 352.7
        (10.0, (96, 896)),  # 91.1 x 910.7
        (0.1, (896, 96)),
    ],
)
def test_shapes_at_a_backbone_of_multiples_of_32(aspect, expected):
    assert input_size(GaussianConfig(aspect=aspect), 32, 8) == expected
    assert grid_shape(GaussianConfig(aspect=aspect), 32, 8) == (expected[0] // 8, expected[1] // 8)


@pytest.mark.parametrize("aspect", [0.1, 0.4, 0.9, 1.3, 2.52, 7.0, 10.0])
@pytest.mark.parametrize(("multiple", "stride"), [(32, 8), (14, 14), (16, 16)])
@pytest.mark.parametrize("config", [MemoryConfig, ContextConfig])
def test_sides_are_near_the_ideal_ones_and_fit_together(aspect, multiple, stride, config):
    settings = config(image_size=448, aspect=aspect)
    sides, ideal = input_size(settings, multiple, stride), (448 / aspect**0.5, 448 * aspect**0.5)
    cells = 2 if config is ContextConfig else 1
    for side, near in zip(sides, ideal, strict=True):
        assert side % multiple == 0 and side >= MIN_SIDE and side // stride % cells == 0
        assert abs(side - near) <= max(multiple, stride * cells) / 2


@pytest.mark.parametrize("aspect", [0.1, 10.0])
def test_no_side_is_shorter_than_a_grid_needs(aspect):
    assert min(input_size(GaussianConfig(image_size=64, aspect=aspect), 32, 8)) == 64
    assert min(input_size(MemoryConfig(image_size=70, aspect=aspect), 14, 14)) == 70


def test_pooling_divides_an_oblong_grid_in_any_case():
    assert input_size(ContextConfig(image_size=288, aspect=2.0, pooling=3), 32, 8) == (192, 384)  # multiples of 96


@pytest.mark.parametrize("aspect", [0.0, 0.09, 10.1, float("nan"), -2.0])
def test_aspects_that_cannot_be(aspect):
    with pytest.raises(ConfigError, match=r"model.aspect is .*; expected 0.1 to 10"):
        BackboneConfig(aspect=aspect)


def test_the_preset_paper_has_none():
    with pytest.raises(ConfigError, match=r"unknown key 'model.aspect'"):
        apply_settings(preset_config("paper"), ["model.aspect=2"])


@pytest.mark.parametrize("preset", ["gaussian", "memory"])
def test_detectors_score_oblong_images(preset):
    settings = ["model.image_size=96", "model.aspect=2.5"]
    model = build_model(apply_settings(preset_config(preset), settings))
    assert model.input_size == (64, 160)
    fit_to(model, torch.rand(4, 3, 64, 160))
    assert model.anomaly_map(torch.rand(2, 3, 64, 160)).shape == (2, 64, 160)


def test_the_neighbourhood_must_leave_something_along_the_longer_side():
    settings = ["model.image_size=128", "model.pooling=4", "model.width=16", "model.heads=2", "model.mask_radius=2"]
    with pytest.raises(ConfigError, match="on 4 x 4 patches; expected more patches"):
        build_model(apply_settings(preset_config("context"), settings))
    oblong = build_model(apply_settings(preset_config("context"), [*settings, "model.aspect=3.0"]))
    assert oblong.grid == oblong.network.grid == (2, 7)
    assert oblong.network.visible.any(1).all()


def test_a_transformers_positions_are_made_ready_for_the_oblong_grid(tmp_path):
    path = save_vit(tmp_path / "w.safetensors")
    backbone, square = (
        build_backbone(BackboneConfig(backbone=f"vit:{path}", image_size=128, aspect=aspect)) for aspect in (2.0, None)
    )
    images = torch.rand(1, 3, 96, 176)
    ready = backbone.network.positions_6x11
    assert ready.shape[1] - backbone.network.shape.prefix * backbone.network.shape.prefix_positions == 66
    torch.testing.assert_close(backbone(images), square(images))
    assert backbone(images).shape[-2:] == (6, 11)
    path_config = GaussianConfig(backbone=f"vit:{path}", image_size=128, aspect=2.0)
    assert GaussianDetector(path_config, build_backbone(path_config)).density.grid == (6, 11)
