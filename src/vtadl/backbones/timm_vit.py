"""A frozen Vision Transformer from a file of timm's tensors, as a backbone."""

import functools
import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from vtadl.backbones.input_size import Geometry, input_size
from vtadl.backbones.weights import Checksum, find_weights, stamp
from vtadl.config.schema import BackboneConfig
from vtadl.errors import BundleError, ConfigError
from vtadl.nn.vit import VisionTransformer, VitShape, vit_shape

SCALINGS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation by which a network's training scaled colours."""
MAX_BYTES = 8_000_000_000
WHERE = (
    "get them where there is a network, such as model.safetensors of "
    "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m"
)


class VitBackbone(nn.Module):
    """Some blocks' patch embeddings, joined.

    Args:
        config: its ``backbone`` is ``vit:`` and the path of a safetensors file.

    Raises:
        ConfigError: settings that do not go with these weights.
        BundleError: there is no such file, or it holds something else.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        path, shape = _located(config)
        weights, sha256 = read_weights(path, *stamp(path))
        self.blocks = chosen_blocks(config, shape.depth, by_itself=shape.layer_scale)
        self.width = shape.width * len(self.blocks)
        self.stride = self.multiple = shape.patch
        with torch.device("meta"):
            self.network = VisionTransformer(shape)
        # Tensors that it has no use for are left out; the others are shared by all backbones of this file.
        known = self.network.state_dict().keys()
        self.network.load_state_dict({name: weights[name] for name in known}, assign=True)
        height, width = input_size(config, self.multiple, self.stride)
        self.network.prepare((max(height // shape.patch, 1), max(width // shape.patch, 1)))
        mean, deviation = SCALINGS[config.backbone_scaling or ("imagenet" if shape.layer_scale else "half")]
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))
        self.checksum = Checksum(sha256, path)

    def forward(self, images_B3HW: Tensor, pooling: int = 1) -> Tensor:
        embeddings_BDHW = torch.cat(self.network((images_B3HW - self.mean) / self.deviation, self.blocks), dim=1)
        return F.avg_pool2d(embeddings_BDHW, pooling)


def vit_geometry(config: BackboneConfig) -> Geometry:
    """Of a `VitBackbone`, from the file's header alone; raises as that does."""
    _, shape = _located(config)
    blocks = chosen_blocks(config, shape.depth, by_itself=shape.layer_scale)
    return Geometry(width=shape.width * len(blocks), stride=shape.patch, multiple=shape.patch)


def chosen_blocks(config: BackboneConfig, depth: int, *, by_itself: bool) -> tuple[int, ...]:
    """The blocks that the settings name, else one.

    Args:
        config: the settings.
        depth: blocks that the network has.
        by_itself: whether it learned without labels, as DINOv2: its last block is taken, of others the middle one,
            for what they say in the end is of classes and no longer of the patch.

    Raises:
        ConfigError: the network has no such block.
    """
    blocks = config.backbone_blocks or (depth if by_itself else (depth + 1) // 2,)
    if max(blocks) > depth:
        raise ConfigError(f"model.backbone_blocks asks for block {max(blocks)}; '{config.backbone}' has {depth}")
    return blocks


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file's tensors, from its header, before memory is spent on values.

    Raises:
        BundleError: it is no such file.
    """
    if not path.is_file():  # a pipe would be waited for, a device has no end
        raise BundleError(f"'{path}' is no file; vit: takes a .safetensors file, hub: a folder")
    if path.stat().st_size > MAX_BYTES:
        raise BundleError(f"'{path}' has {path.stat().st_size:,} bytes; expected {MAX_BYTES:,} at most")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _located(config: BackboneConfig) -> tuple[Path, VitShape]:
    """The file that ``backbone`` names and what its tensors' names and shapes say."""
    path = find_weights(config.backbone.partition(":")[2], WHERE)
    try:
        return path, vit_shape(read_shapes(path), config.backbone_heads)
    except ConfigError as error:
        raise BundleError(
            f"'{path}' is no Vision Transformer of timm's: {error} (Hugging Face's own go with hub:FOLDER)"
        ) from error


@functools.lru_cache(maxsize=2)
def read_weights(path: Path, changed: int, size: int) -> tuple[dict[str, Tensor], bytes]:
    """Tensors in float32 and the file's checksum; read once in a process as long as the file stays what it is."""
    try:
        content = path.read_bytes()
        weights: dict[str, Tensor] = load_tensors(content)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    for name, tensor in weights.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise BundleError(f"'{path}' is damaged: tensor {name} is not of finite numbers; get it again")
    return {name: tensor.float() for name, tensor in weights.items()}, hashlib.sha256(content).digest()


def _unreadable(path: Path, error: Exception) -> BundleError:
    return BundleError(
        f"'{path}' is no readable safetensors file ({' '.join(str(error).split())}); pickled weights (.pth, .bin) "
        "can run code and are never opened: get them as safetensors"
    )
