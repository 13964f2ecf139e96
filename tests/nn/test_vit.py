"""The Vision Transformer against a literal one, against timm's own output, and shapes that cannot be."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from helpers.backbone_weights import SHAPE
from vtadl.errors import ConfigError
from vtadl.nn.vit import VisionTransformer, VitShape, resampled_positions, vit_shape

pytestmark = pytest.mark.native

PLAIN = {**SHAPE, "width": 128, "depth": 2, "heads": 2, "patch": 4, "mlp_width": 24}
KINDS = {
    "plain": {},
    "DINOv2": {"layer_scale": True},
    "registers": {"layer_scale": True, "registers": 4, "prefix_positions": False},
    "SigLIP": {"class_token": False, "prefix_positions": False},
    "SwiGLU": {"layer_scale": True, "gated": True},
    "no bias": {"qkv_bias": False},
}


def network(**changes):
    torch.manual_seed(0)
    built = VisionTransformer(VitShape(**{**PLAIN, **changes})).eval()
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built


def shapes(built):
    return {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}


def normalised(x, weight, bias):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt() * weight + bias


def literal(w, image, shape, last):
    """One image, one token and one head at a time, from the tensors by name."""
    size = shape.patch
    rows, columns = image.shape[1] // size, image.shape[2] // size
    kernel = w["patch_embed.proj.weight"].flatten(1)
    tokens = []
    for row in range(rows):
        for column in range(columns):
            patch = image[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            tokens.append(kernel @ patch.flatten() + w["patch_embed.proj.bias"])
    prefix = [*w.get("cls_token", torch.empty(1, 0, 1))[0], *w.get("reg_token", torch.empty(1, 0, 1))[0]]
    if shape.prefix_positions:
        x = torch.stack([*prefix, *tokens]) + w["pos_embed"][0]
    else:
        x = torch.stack([*prefix, *(torch.stack(tokens) + w["pos_embed"][0])])
    for number in range(last):
        b = {name.removeprefix(f"blocks.{number}."): t for name, t in w.items() if name.startswith(f"blocks.{number}.")}
        qkv = normalised(x, b["norm1.weight"], b["norm1.bias"]) @ b["attn.qkv.weight"].T + b.get("attn.qkv.bias", 0)
        q, k, v = qkv.split(shape.width, dim=1)
        heads = []
        for part in torch.arange(shape.width).split(shape.width // shape.heads):
            logits = q[:, part] @ k[:, part].T / len(part) ** 0.5
            heads.append(logits.softmax(1) @ v[:, part])
        attended = torch.cat(heads, dim=1) @ b["attn.proj.weight"].T + b["attn.proj.bias"]
        x = x + attended * b.get("ls1.gamma", 1)
        hidden = normalised(x, b["norm2.weight"], b["norm2.bias"]) @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
        if shape.gated:
            gate, value = hidden[:, : shape.mlp_width], hidden[:, shape.mlp_width :]
            hidden = gate / (1 + (-gate).exp()) * value
        else:
            hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + (hidden @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]) * b.get("ls2.gamma", 1)
    x = normalised(x, w["norm.weight"], w["norm.bias"])[len(prefix) :]
    return x.T.reshape(-1, rows, columns)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_equals_a_literal_one(kind):
    built = network(**KINDS[kind]).double()
    images = torch.rand(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        last, first = built(images, (2, 1))
        for number, image in enumerate(images):
            for ours, blocks in ((first, 1), (last, 2)):
                torch.testing.assert_close(ours[number], literal(built.state_dict(), image, built.shape, blocks))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensors_tell_the_shape(kind):
    built = network(**KINDS[kind])
    assert vit_shape({**shapes(built), "head.weight": (1000, 128)}) == built.shape


@pytest.mark.parametrize("grid", [(5, 5), (2, 7), (3, 3)])
@pytest.mark.parametrize("prefix", [True, False])
def test_positions_are_resampled_as_pillow_resizes(grid, prefix):
    built = network(prefix_positions=prefix)
    positions, skipped = built.pos_embed.detach(), int(prefix)
    resampled = resampled_positions(positions, built.shape, grid)
    assert torch.equal(resampled[:, :skipped], positions[:, :skipped])
    for channel in (0, 77):
        plane = Image.fromarray(positions[0, skipped:, channel].reshape(3, 3).numpy())
        expected = np.asarray(plane.resize(grid[::-1], Image.Resampling.BICUBIC))
        np.testing.assert_allclose(resampled[0, skipped:, channel].reshape(grid), expected, atol=1e-5)


def test_prepared_positions_change_nothing():
    built = network()
    images = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        before = built(images, (2,))[0]
        built.prepare((5, 5))
        assert torch.equal(built(images, (2,))[0], before)
        assert built(torch.rand(1, 3, 8, 16), (2,))[0].shape == (1, 128, 2, 4)
    assert not any("positions" in name for name in built.state_dict())


@pytest.mark.real_data
def test_a_pretrained_one_says_what_timm_says(shared, golden):
    # The golden file is timm 1.0.31's: forward_intermediates of vit_tiny_patch16_224, every sixth channel.
    weights = load_file(shared / "weights/vit_tiny_patch16_224.fp16.safetensors")
    built = VisionTransformer(vit_shape({name: tuple(tensor.shape) for name, tensor in weights.items()}))
    built.load_state_dict(weights)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(160.0), indexing="ij")
    image = torch.stack([torch.sin(x / 7 + c) * torch.cos(y / 5 - c) for c in range(3)])[None]
    with torch.no_grad():
        outputs = torch.cat(built(image, (6, 12)), dim=1)
    # The same sums as timm's, in another order, in float32: a hundred roundings of 1e-7.
    golden("vit_tiny_timm", outputs[0, ::6].numpy(), tolerance=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("patch_embed.proj.weight"), "there is no tensor patch_embed.proj.weight"),
        (lambda s: s.pop("pos_embed"), "there is no tensor pos_embed"),
        (lambda s: s.update({"pos_embed": (10, 128)}), r"pos_embed has shape \[10, 128\]; expected 3 dimensions"),
        (lambda s: s.update({"pos_embed": (1, 12, 128)}), r"such as pos_embed: found \[1, 12, 128\]"),
        (lambda s: s.pop("norm.weight"), r"such as norm.weight: found none, expected \[128\]"),
        (lambda s: s.update({"norm_pre.weight": (128,)}), r"such as norm_pre.weight: found \[128\], expected none"),
        (lambda s: s.update({"blocks.7.norm1.weight": (128,)}), "tensors do not fit"),
        (lambda s: s.update({"patch_embed.proj.weight": (128, 1, 4, 4)}), "patch_embed.proj.weight"),
        (lambda s: s.update({"patch_embed.proj.weight": (10**9, 3, 4, 4)}), "width would be 1000000000"),
        (lambda s: s.update({"patch_embed.proj.weight": (128, 3, 0, 0)}), "patch would be 0"),
        (lambda s: s.update({"pos_embed": (1, 0, 128)}), "side would be 0"),
        (lambda s: s.update(reg_token=(1, 10**9, 128), pos_embed=(1, 9, 128)), "1000000000 registers; expected 64"),
        (lambda s: s.update({"blocks.0.mlp.fc2.weight": (128, 10**9)}), "mlp_width would be 1000000000"),
        (lambda s: s.update({f"blocks.{n}.x": (1,) for n in range(500)}), "depth would be 500"),
    ],
)
def test_tensors_that_cannot_be(change, message):
    tensors = shapes(network())
    change(tensors)
    with pytest.raises(ConfigError, match=message):
        vit_shape(tensors)


def test_heads_that_cannot_be():
    with pytest.raises(ConfigError, match=r"3 heads do not divide its width of 128; set model.backbone_heads"):
        vit_shape(shapes(network()), heads=3)
    assert vit_shape(shapes(network()), heads=4).heads == 4
