"""Backbones of others: a module with ``width``, ``stride`` and ``multiple`` as attributes."""

import copy
import hashlib
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.backbones.input_size import Geometry
from vtadl.backbones.weights import Checksum
from vtadl.config import plugins
from vtadl.config.schema import BackboneConfig
from vtadl.errors import ConfigError


class Backbone(Protocol):
    """A network that embeds images; an ``nn.Module``, which is frozen."""

    width: int
    """Dimensions of an embedding."""
    stride: int
    """Pixels along a side that make one cell of its grid."""
    multiple: int
    """Images must have sides that are multiples of this."""

    def __call__(self, images_B3HW: Tensor, /) -> Tensor:
        """Images in [0, 1], ``(B, 3, H, W)``, to embeddings ``(B, width, H / stride, W / stride)``."""


def plugged_geometry(config: BackboneConfig) -> Geometry:
    """Width and grid of a backbone by name; none is made.

    Raises:
        ConfigError: it is not given, cannot be imported, or does not say them.
    """
    network = _found(config.backbone)
    return Geometry(**{name: int(getattr(network, name)) for name in ("width", "stride", "multiple")})


class PluggedBackbone(nn.Module):
    """A backbone by name, frozen, with the checksum of its weights.

    Raises:
        ConfigError: it is not given, cannot be imported or made, or is no backbone.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.name = config.backbone
        geometry = plugged_geometry(config)
        self.width, self.stride, self.multiple = geometry.width, geometry.stride, geometry.multiple
        self.network = _made(config.backbone)
        self.checksum = Checksum(_digest(self.network), Path(config.backbone))

    def forward(self, images_B3HW: Tensor, pooling: int = 1) -> Tensor:
        embeddings_BDHW: Tensor = self.network(images_B3HW)
        batch, _, height, width = images_B3HW.shape
        expected = (batch, self.width, height // self.stride, width // self.stride)
        if embeddings_BDHW.shape != expected:
            raise ConfigError(
                f"backbone '{self.name}' gave {tuple(embeddings_BDHW.shape)}; expected (B, width, H / stride, "
                f"W / stride), {expected}"
            )
        return F.avg_pool2d(embeddings_BDHW, pooling)


def _made(name: str) -> nn.Module:
    network = _found(name)
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)  # whoever made it may change it
    # Weights that it draws are the same each time, whatever was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            made: nn.Module = network()
        except Exception as error:  # Another's code may raise anything.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"backbone '{name}' cannot be made ({reason}); it is made without arguments") from error
    return made


def _found(name: str) -> Any:
    """A class, or a module that is made already."""
    network = plugins.load(plugins.BACKBONES, name)
    numbers = [getattr(network, attribute, None) for attribute in ("width", "stride", "multiple")]
    is_module = issubclass(network if isinstance(network, type) else type(network), nn.Module)
    if not is_module or not all(isinstance(number, int) and number > 0 for number in numbers):
        raise ConfigError(
            f"backbone '{name}' is no class of torch.nn.Module with width, stride and multiple as numbers above 0"
        )
    return network


def _digest(network: nn.Module) -> bytes:
    """SHA-256 of names and values of its tensors."""
    sha256 = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        sha256.update(name.encode())
        sha256.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha256.digest()
