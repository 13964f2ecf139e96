"""Checkpoints that VT-ADL's published code saved, as weights of the faithful variant.

The published training writes two state dicts: the autoencoder's (``VT_AE*.pt``) and the mixture network's
(``G_estimate*.pt``). They are read as tensors alone: a file that would run code, or holds anything else, is refused.
"""

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vtadl.config.schema import PaperConfig
from vtadl.errors import BundleError
from vtadl.losses.objective import parse_objective
from vtadl.models.paper_network import PaperModel

OBJECTIVE = "5*mse + 0.5*ssim + nll_reference"
"""What the published code minimises, up to the constant 0.5."""

_Table = tuple[tuple[str, str], ...]
_AUTOENCODER: _Table = (
    (r"vt\.pos_embedding", r"encoder.positions.embedding"),
    (r"vt\.cls_token", r"encoder.class_token"),
    (r"vt\.patch_to_embedding\.(weight|bias)", r"encoder.patches.projection.\1"),
    (r"vt\.transformer\.layers\.(\d+)\.0\.fn\.norm\.(weight|bias)", r"encoder.blocks.\1.attention_norm.\2"),
    (r"vt\.transformer\.layers\.(\d+)\.0\.fn\.fn\.to_qkv\.weight", r"encoder.blocks.\1.attention.qkv.weight"),
    (r"vt\.transformer\.layers\.(\d+)\.0\.fn\.fn\.to_out\.0\.(weight|bias)", r"encoder.blocks.\1.attention.out.\2"),
    (r"vt\.transformer\.layers\.(\d+)\.1\.fn\.norm\.(weight|bias)", r"encoder.blocks.\1.mlp_norm.\2"),
    (r"vt\.transformer\.layers\.(\d+)\.1\.fn\.fn\.net\.([02])\.(weight|bias)", r"encoder.blocks.\1.mlp.\2.\3"),
    (r"Digcap\.W", r"vector.projection.weight"),
)
_MIXTURE: _Table = (
    (r"pi\.weight", r"mixture.log_weight.weight"),
    (r"mu\.weight", r"mixture.mean.weight"),
    (r"sigma_sq\.weight", r"mixture.log_var.weight"),
)
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
_MIXED = ("mixture.mean.weight", "mixture.log_var.weight")
_REARRANGED = {"vector.projection.weight": 4, **dict.fromkeys(_MIXED, 2)}
"""Tensors with another layout here, and their dimensions there."""
_DECODER = re.compile(r"decoder\.decoder2\.(\d+)\.(\w+)")


def load_reference(autoencoder: Path, mixture: Path, *, heads: int = 8) -> PaperModel:
    """The faithful model with the weights of two published checkpoints; its sizes follow from the tensors' shapes.

    Args:
        autoencoder: the published ``VT_AE*.pt``.
        mixture: the published ``G_estimate*.pt``.
        heads: of the attention, the one size that no shape tells; 8 as published.

    Raises:
        BundleError: a file that is missing, no checkpoint of tensors alone, or of another network.
    """
    state = _renamed(_read(autoencoder), autoencoder, _AUTOENCODER) | _renamed(_read(mixture), mixture, _MIXTURE)
    config = _config(state, heads, f"{autoencoder} and {mixture}")
    model = PaperModel(config, parse_objective(OBJECTIVE))
    expected = model.state_dict()
    for name in [*expected, *state]:
        if name not in state or name not in expected or state[name].shape != expected[name].shape:
            came = f"{tuple(state[name].shape)}" if name in state else "nothing"
            wanted = f"{tuple(expected[name].shape)}" if name in expected else "nothing"
            raise BundleError(f"{autoencoder} and {mixture} are no pair: {name} should be {wanted} and is {came}")
    model.load_state_dict(state)
    return model


def rearranged(name: str, tensor: Tensor) -> Tensor:
    """A published tensor in the layout of this package's tensor ``name``."""
    if name == "vector.projection.weight":  # (1, inputs, 512, 8) votes to one matrix (512, inputs 8)
        return tensor[0].permute(1, 0, 2).flatten(1)
    if name in _MIXED:  # row d K + k to row k D + d
        width = tensor.shape[1]
        return tensor.reshape(width, -1, width).transpose(0, 1).flatten(0, 1)
    return tensor


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BundleError(f"no file {path}; expected a checkpoint saved by VT-ADL's published code") from error
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} is no file of tensors alone; anything else could run code and is not read: save model.state_dict()"
        ) from error
    except Exception as error:  # torch's reader of damaged bytes raises anything
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        raise BundleError(f"{path} is no checkpoint that torch can read: {reason}") from error
    if not isinstance(content, Mapping) or not content:
        raise BundleError(f"{path} holds {type(content).__name__}; expected a state dict: tensors by name")
    for name, value in content.items():
        if not isinstance(name, str) or type(value) not in (Tensor, torch.nn.Parameter):
            raise BundleError(
                f"{path}: '{name}' is {type(value).__name__}, not a tensor; save model.state_dict() alone"
            )
        if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in _DTYPES:
            raise BundleError(f"{path}: '{name}' is no plain array of numbers but {value.dtype}, {value.layout}")
        if not value.isfinite().all():
            raise BundleError(f"{path}: '{name}' holds NaN or infinite values; take a checkpoint from before that")
    return {name.removeprefix("module."): value.detach() for name, value in content.items()}


def _renamed(tensors: Mapping[str, Tensor], path: Path, table: _Table) -> dict[str, Tensor]:
    state = {}
    for published, tensor in tensors.items():
        name = _name(published, table)
        if name is None:
            raise BundleError(f"{path}: unexpected tensor '{published}'; the published code has none of this name here")
        dimensions = {"encoder.patches.projection.weight": 2, "encoder.positions.embedding": 3, **_REARRANGED}
        width = tensor.shape[1] if tensor.ndim > 1 else 0
        if tensor.ndim != dimensions.get(name, tensor.ndim) or (name in _MIXED and (width == 0 or len(tensor) % width)):
            raise BundleError(f"{path}: '{published}' has the shape {tuple(tensor.shape)}, unlike the published one")
        state[name] = rearranged(name, tensor).contiguous()
    return state


def _name(published: str, table: _Table) -> str | None:
    for pattern, replacement in table:
        if (match := re.fullmatch(pattern, published, re.ASCII)) is not None:
            return match.expand(replacement)
    if table is _AUTOENCODER and (match := _DECODER.fullmatch(published)) is not None:
        # The published sequence is convolution, normalisation, ReLU, over and over.
        stage, part = divmod(int(match[1]), 3)
        return f"decoder.stack.{('convolutions', 'norms', 'relus')[part]}.{stage}.{match[2]}"
    return None


def _config(state: Mapping[str, Tensor], heads: int, source: str) -> PaperConfig:
    """The sizes that the tensors have."""
    needed = [
        "encoder.patches.projection.weight",
        "encoder.positions.embedding",
        "encoder.blocks.0.mlp.0.weight",
        "mixture.log_weight.weight",
    ]
    missing = [name for name in needed if name not in state]
    if missing:
        raise BundleError(f"{source}: {missing[0]} is missing; expected the published VT_AE and G_estimate checkpoints")
    projection, positions, hidden, weights = (state[name] for name in needed)
    patch_size = math.isqrt(projection.shape[1] // 3)
    side = math.isqrt(positions.shape[1] - 1)
    return PaperConfig(
        variant="faithful",
        image_size=side * patch_size,
        patch_size=patch_size,
        width=projection.shape[0],
        depth=len({name.split(".")[2] for name in state if name.startswith("encoder.blocks.")}),
        heads=heads,
        mlp_width=hidden.shape[0],
        mixtures=weights.shape[0],
    )
