"""A Vision Transformer under timm's tensor names, its shape read from the tensors themselves.

Source: A. Dosovitskiy et al., ICLR 2021. Layer scale, SwiGLU and registers as in M. Oquab et al., DINOv2, TMLR 2024,
and T. Darcet et al., Vision Transformers Need Registers, ICLR 2024.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.errors import ConfigError

HEAD_WIDTH = 64
"""Channels of an attention head in all published sizes."""
EPSILON = 1e-6
UNUSED = ("head.", "head_dist.", "fc_norm.", "pre_logits.", "attn_pool.", "mask_token")
"""Beginnings of the names of tensors that patch embeddings do not need."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class VitShape:
    """What tells one Vision Transformer from another."""

    width: int
    depth: int
    heads: int
    patch: int
    mlp_width: int
    """Hidden units of a block's two layers, behind their activation."""
    side: int
    """Patches along a side of the square grid that positions were learned for."""
    class_token: bool
    registers: int
    prefix_positions: bool
    """Whether class token and registers have positions too."""
    gated: bool
    """SwiGLU in place of GELU."""
    layer_scale: bool
    qkv_bias: bool

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return int(self.class_token) + self.registers


def vit_shape(tensors: Shapes, heads: int | None = None) -> VitShape:
    """The shape that tensors of these names and shapes belong to.

    Args:
        tensors: names and shapes.
        heads: attention heads, which leave no trace in the tensors; ``None``: one for each 64 channels.

    Raises:
        ConfigError: they are not those of such a network.
    """
    width, _, patch, _ = _dimensions(tensors, "patch_embed.proj.weight", 4)
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.") and name.count(".") > 1})
    _, positions, _ = _dimensions(tensors, "pos_embed", 3)
    hidden, _ = _dimensions(tensors, "blocks.0.mlp.fc1.weight", 2)
    _, mlp_width = _dimensions(tensors, "blocks.0.mlp.fc2.weight", 2)
    class_token = "cls_token" in tensors
    registers = _dimensions(tensors, "reg_token", 3)[1] if "reg_token" in tensors else 0
    prefix = int(class_token) + registers
    prefix_positions = math.isqrt(positions) ** 2 != positions
    shape = VitShape(
        width=width,
        depth=depth,
        heads=heads or max(width // HEAD_WIDTH, 1),
        patch=patch,
        mlp_width=mlp_width,
        side=math.isqrt(max(positions - prefix * prefix_positions, 0)),
        class_token=class_token,
        registers=registers,
        prefix_positions=prefix_positions,
        gated=hidden == 2 * mlp_width,
        layer_scale="blocks.0.ls1.gamma" in tensors,
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
    )
    _check(shape, tensors)
    return shape


def resampled_positions(positions_1ND: Tensor, shape: VitShape, grid: tuple[int, int]) -> Tensor:
    """Learned positions on another grid, bicubic and antialiased, as timm does it.

    Args:
        positions_1ND: ``(1, N, D)``, of the class token and registers first, where those have any.
        shape: of the network.
        grid: height and width in patches.

    Returns:
        ``(1, N', D)``; what belongs to no patch is as it was.
    """
    if grid == (shape.side, shape.side):
        return positions_1ND
    prefix = shape.prefix * shape.prefix_positions
    patches_1DHW = positions_1ND[:, prefix:].reshape(1, shape.side, shape.side, -1).permute(0, 3, 1, 2)
    patches_1DHW = F.interpolate(patches_1DHW, grid, mode="bicubic", antialias=True)
    return torch.cat([positions_1ND[:, :prefix], patches_1DHW.flatten(2).transpose(1, 2)], dim=1)


class VisionTransformer(nn.Module):
    """Images to the patch embeddings of some of its blocks, each behind the final layer norm."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        positions = shape.side**2 + shape.prefix * shape.prefix_positions
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if shape.class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, shape.registers, width)) if shape.registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, shape.patch, stride=shape.patch)})
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def prepare(self, grid: tuple[int, int]) -> None:
        """Resample the positions to a grid once, so that they are a constant for images of its size."""
        ready_1ND = resampled_positions(self.pos_embed.detach(), self.shape, grid)
        self.register_buffer(_ready(grid), ready_1ND, persistent=False)

    def forward(self, images_B3HW: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Patch embeddings.

        Args:
            images_B3HW: scaled as in the network's training; sides are multiples of the patch.
            blocks: which blocks' outputs, counted from 1, in any order.

        Returns:
            One ``(B, D, H / patch, W / patch)`` for each of ``blocks``.
        """
        patches_BDhw = self.patch_embed["proj"](images_B3HW)
        grid = (patches_BDhw.shape[-2], patches_BDhw.shape[-1])
        x_BND = self._with_prefix(patches_BDhw.flatten(2).transpose(1, 2), grid)
        outputs = {}
        for number, block in enumerate(self.blocks[: max(blocks)], start=1):
            x_BND = block(x_BND)
            if number in blocks:
                outputs[number] = self.norm(x_BND[:, self.shape.prefix :]).transpose(1, 2).unflatten(2, grid)
        return [outputs[number] for number in blocks]

    def _with_prefix(self, x_BND: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches with their positions, behind class token and registers."""
        positions_1ND: Tensor | None = getattr(self, _ready(grid), None)
        if positions_1ND is None:
            positions_1ND = resampled_positions(self.pos_embed, self.shape, grid)
        tokens = [token for token in (self.cls_token, self.reg_token) if token is not None]
        prefix = [token.expand(len(x_BND), -1, -1) for token in tokens]
        if self.shape.prefix_positions:
            return torch.cat([*prefix, x_BND], dim=1) + positions_1ND
        return torch.cat([*prefix, x_BND + positions_1ND], dim=1)


def _ready(grid: tuple[int, int]) -> str:
    """Name of the positions that are ready for a grid."""
    return f"positions_{grid[0]}x{grid[1]}"


class _Attention(nn.Module):
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=shape.qkv_bias)
        self.proj = nn.Linear(shape.width, shape.width)

    def forward(self, x_BND: Tensor) -> Tensor:
        qkv = self.qkv(x_BND).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        out_BND: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out_BND


class _Mlp(nn.Module):
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.gated = shape.gated
        self.fc1 = nn.Linear(shape.width, shape.mlp_width * (2 if shape.gated else 1))
        self.fc2 = nn.Linear(shape.mlp_width, shape.width)

    def forward(self, x_BND: Tensor) -> Tensor:
        hidden_BNM = self.fc1(x_BND)
        if self.gated:
            gate_BNM, value_BNM = hidden_BNM.chunk(2, dim=-1)
            hidden_BNM = F.silu(gate_BNM) * value_BNM
        else:
            hidden_BNM = F.gelu(hidden_BNM)
        out_BND: Tensor = self.fc2(hidden_BNM)
        return out_BND


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND * self.gamma


class _Block(nn.Module):
    # Attribute names are timm's, so that its tensors load as they are.
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=EPSILON)
        self.attn = _Attention(shape)
        self.ls1 = _LayerScale(shape.width) if shape.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=EPSILON)
        self.mlp = _Mlp(shape)
        self.ls2 = _LayerScale(shape.width) if shape.layer_scale else nn.Identity()

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.ls1(self.attn(self.norm1(x_BND)))
        x_BND = x_BND + self.ls2(self.mlp(self.norm2(x_BND)))
        return x_BND


def _dimensions(tensors: Shapes, name: str, count: int) -> tuple[int, ...]:
    if name not in tensors:
        raise ConfigError(f"there is no tensor {name}")
    if len(tensors[name]) != count:
        raise ConfigError(f"tensor {name} has shape {list(tensors[name])}; expected {count} dimensions")
    return tensors[name]


def _check(shape: VitShape, tensors: Shapes) -> None:
    limits = {"width": 8192, "depth": 128, "patch": 128, "mlp_width": 65_536, "side": 512}
    for name, most in limits.items():
        if not 1 <= getattr(shape, name) <= most:
            raise ConfigError(f"its {name} would be {getattr(shape, name)}; expected 1 to {most:,}")
    if shape.registers > 64:
        raise ConfigError(f"it would have {shape.registers} registers; expected 64 at most")
    if shape.width % shape.heads:
        raise ConfigError(f"{shape.heads} heads do not divide its width of {shape.width}; set model.backbone_heads")
    with torch.device("meta"):  # takes no memory
        expected = {name: tuple(tensor.shape) for name, tensor in VisionTransformer(shape).state_dict().items()}
    found = {name: dimensions for name, dimensions in tensors.items() if not name.startswith(UNUSED)}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        had, wanted = (list(shapes[name]) if name in shapes else "none" for shapes in (found, expected))
        raise ConfigError(f"{len(wrong)} tensors do not fit, such as {name}: found {had}, expected {wanted}")
