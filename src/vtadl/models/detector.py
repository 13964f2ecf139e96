"""Detectors that are fitted without steps: a frozen backbone with a density over its embeddings."""

import torch
from torch import Tensor, nn

from vtadl.backbones.build import Backbone
from vtadl.backbones.input_size import grid_shape, input_size
from vtadl.config.schema import GaussianConfig, MemoryConfig
from vtadl.data.training_images import TrainingImages
from vtadl.density.gaussian import PositionGaussian, shared_blocks
from vtadl.density.memory import PatchMemory, SampledPatches
from vtadl.density.plugged import PluggedDensity
from vtadl.errors import ConfigError
from vtadl.models.protocol import Fitted, Session
from vtadl.nn.resize import Resize

MAX_COVARIANCES = 2**32
"""Numbers in the covariances of all positions: 17 GB while they are fitted."""


class GaussianDetector(nn.Module):
    """A density of each position, one Gaussian unless settings name another, over a frozen backbone: preset
    ``gaussian``.
    """

    def __init__(self, config: GaussianConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.input_size = input_size(config, backbone.multiple, backbone.stride)
        grid = grid_shape(config, backbone.multiple, backbone.stride)
        self.density: PositionGaussian | PluggedDensity
        if config.density is None:
            check_covariances(grid, backbone.width)
            self.density = PositionGaussian(backbone.width, grid)
        else:
            self.density = PluggedDensity(config.density, backbone.width, grid)
        self.upsampling = Resize(grid, self.input_size, config.smoothing)

    def fit(self, images: TrainingImages, session: Session) -> Fitted:
        """Mean and covariance of each position; nothing here is random. Or what a density of others learns."""
        self.density.fit(self._embedded(images_B3HW) for images_B3HW in session.batches(images, self.input_size))
        return Fitted()

    @torch.no_grad()  # not inference_mode: what others learn from this may need gradients of its own
    def _embedded(self, images_B3HW: Tensor) -> Tensor:
        return self.backbone(images_B3HW)

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        maps_BHW: Tensor = self.upsampling(self.density(self.backbone(images_B3HW)))
        return maps_BHW


class MemoryDetector(nn.Module):
    """Nearest neighbours among good patches of a frozen backbone: preset ``memory``."""

    def __init__(self, config: MemoryConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.input_size = input_size(config, backbone.multiple, backbone.stride)
        self.density = PatchMemory(
            backbone.width, config.size, cosine=config.distance == "cosine", position_weight=config.position_weight
        )
        grid = grid_shape(config, backbone.multiple, backbone.stride)
        self.upsampling = Resize(grid, self.input_size, config.smoothing)

    @torch.inference_mode()
    def fit(self, images: TrainingImages, session: Session) -> Fitted:
        """A coreset of the patches, which the seed decides."""
        sampled = SampledPatches(len(images), torch.Generator().manual_seed(session.seed))
        for images_B3HW in session.batches(images, self.input_size):
            sampled.add(self.backbone(images_B3HW))
        self.density.fit(*sampled.drawn())
        return Fitted()

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        maps_BHW: Tensor = self.upsampling(self.density(self.backbone(images_B3HW)))
        return maps_BHW


def check_covariances(grid: tuple[int, int], width: int) -> None:
    """Refuse one Gaussian for each position of a grid where that is beyond any machine.

    Raises:
        ConfigError: it is.
    """
    _, (rows, columns) = shared_blocks(grid)
    if rows * columns * width**2 > MAX_COVARIANCES:
        raise ConfigError(
            f"one Gaussian for each of {rows} x {columns} positions over {width} channels takes too much memory; "
            "choose fewer model.backbone_blocks, a smaller model.image_size, or the preset memory"
        )
