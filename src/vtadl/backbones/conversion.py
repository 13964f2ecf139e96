"""Weights of a known network under any names they are published with, as the one file that vtadl keeps of it."""

import re
from collections.abc import Mapping

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from vtadl.backbones.catalogue import KnownBackbone
from vtadl.errors import BundleError, ConfigError
from vtadl.nn.vit import UNUSED, VitShape, vit_shape

HUGGING_FACE = (
    (r"^dinov2\.", ""),  # what a model with a head puts before
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
"""Names of the Hugging Face ``Dinov2Model`` as expressions, and timm's. The order matters."""
QKV = ("query", "key", "value")
FINAL_NORM = {"norm.weight": 1.0, "norm.bias": 0.0}
"""What the final norm's scale and shift become: they were learned for the last block, and detectors use those of the
middle. Copies of the weights that lack them embed alike then."""


def timm_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a Hugging Face Dinov2 under timm's names, query, key and value joined; timm's own stay as they are."""
    renamed = {_timm_name(name): tensor for name, tensor in tensors.items()}
    for name in [name for name in renamed if ".attn.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in QKV]
        if all(part in renamed for part in parts):
            renamed[name.replace(".query.", ".qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


def known_shape(shapes: Mapping[str, tuple[int, ...]], name: str, known: KnownBackbone, source: object) -> VitShape:
    """The shape that tensors of these names and shapes have, under any names they are published with; errors name the
    source.

    Raises:
        BundleError: they are of another network, or of none.
    """
    outlines = {tensor: torch.empty(shape, device="meta") for tensor, shape in shapes.items()}  # take no memory
    try:
        shape = vit_shape({tensor: tuple(outline.shape) for tensor, outline in timm_tensors(outlines).items()})
    except (ConfigError, RuntimeError) as error:
        raise BundleError(f"'{source}' is no {name}: {error}; get it again: {known.sources}") from error
    for field, expected in known.shape.items():
        if getattr(shape, field) != expected:
            raise BundleError(
                f"'{source}' is no {name}: its {field} is {getattr(shape, field)}, expected {expected}; "
                f"get it again: {known.sources}"
            )
    return shape


def stored_form(tensors: Mapping[str, Tensor], shape: VitShape, source: object) -> bytes:
    """The file that vtadl keeps: timm's names, float16, the class token with its position added, `FINAL_NORM`.

    The same weights give the same bytes from whatever source, so that a run that was trained over one is loaded over
    the other; only a source of less than float32 may have rounded the class token's position differently.

    Raises:
        BundleError: a weight is not finite, or too large for float16.
    """
    weights = {name: t.float() for name, t in timm_tensors(tensors).items() if not name.startswith(UNUSED)}
    positions_1ND = weights["pos_embed"]
    if shape.prefix_positions:
        weights["cls_token"] = weights["cls_token"] + positions_1ND[:, :1]
        positions_1ND = positions_1ND[:, 1:]
    weights["pos_embed"] = torch.cat([torch.zeros_like(weights["cls_token"]), positions_1ND], dim=1)
    halves = {name: tensor.half().contiguous() for name, tensor in weights.items()}
    for name, tensor in halves.items():
        if not tensor.isfinite().all():
            raise BundleError(f"'{source}' is damaged: tensor {name} is not of finite numbers; get it again")
    for name, value in FINAL_NORM.items():
        halves[name] = torch.full_like(halves[name], value)
    return save_tensors(halves)


def _timm_name(name: str) -> str:
    for expression, replacement in HUGGING_FACE:
        name = re.sub(expression, replacement, name)
    return name
