"""The one protocol of all detectors, and how each comes about: a frozen backbone with a density, or a trained
network.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vtadl.backbones.build import build_backbone
from vtadl.backbones.input_size import grid_shape, input_size
from vtadl.config.schema import GaussianConfig, MemoryConfig
from vtadl.density.gaussian import PositionGaussian, shared_blocks
from vtadl.density.memory import PatchMemory, SampledPatches
from vtadl.errors import ConfigError
from vtadl.losses.objective import Objective
from vtadl.nn.resize import Resize
from vtadl.nn.smoothing import gaussian_smooth

MAX_COVARIANCES = 2**32
"""Numbers in the covariances of all positions: 17 GB while they are fitted."""


@runtime_checkable
class Detector(Protocol):
    """What training, prediction, evaluation and export ask of a model; an ``nn.Module`` besides."""

    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        """How abnormal each pixel is.

        Args:
            images_B3HW: ``(B, 3, H, W)`` in [0, 1], of the size that the model takes.

        Returns:
            ``(B, H, W)``, smoothed, any range: higher is more abnormal.
        """


class Network(Protocol):
    """What `TrainedDetector` asks of a network that is trained by an objective; an ``nn.Module`` besides."""

    def terms(
        self, images_B3HW: Tensor, *, seed: int, step: int, samples: Sequence[int]
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        """The objective's terms on a batch.

        Args:
            images_B3HW: ``(B, 3, S, S)`` in [0, 1].
            seed: with ``step`` and each image's number in ``samples``, the key of that image's noise: the same
                whatever else is in the batch.
            step: counted from 0.
            samples: B numbers.

        Returns:
            Each term's mean over the batch, unweighted, by name; and the variance of the embeddings.
        """

    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        """As `Detector.anomaly_map`, not smoothed."""

    def reconstruct(self, images_B3HW: Tensor) -> Tensor:
        """The images as the network sees them, ``(B, 3, S, S)``.

        Raises:
            ConfigError: the objective has no term that reconstructs.
        """

    def compile_parts(self) -> None:
        """Let torch.compile work on the parts that are worth it."""


class TrainedDetector(nn.Module):
    """A network that an objective trains: preset ``paper``."""

    def __init__(self, network: Network, objective: Objective, smoothing: float) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.smoothing = smoothing

    def terms(
        self, images_B3HW: Tensor, *, seed: int, step: int, samples: Sequence[int]
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        """See `Network.terms`."""
        return self.network.terms(images_B3HW, seed=seed, step=step, samples=samples)

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        return gaussian_smooth(self.network.anomaly_map(images_B3HW), self.smoothing)


class GaussianDetector(nn.Module):
    """One Gaussian per position over a frozen backbone: preset ``gaussian``."""

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config)
        self.input_size = input_size(config, self.backbone.multiple, self.backbone.stride)
        grid = grid_shape(config, self.backbone.multiple, self.backbone.stride)
        check_covariances(grid, self.backbone.width)
        self.density = PositionGaussian(self.backbone.width, grid)
        self.upsampling = Resize(grid, self.input_size, config.smoothing)

    @torch.inference_mode()
    def fit(self, batches: Iterable[Tensor], count: int, seed: int) -> None:
        """Fit to ``count`` good images, batches of ``(B, 3, H, W)`` in [0, 1]; nothing here is random."""
        moments = self.density.moments()
        for images_B3HW in batches:
            moments.update(self.backbone(images_B3HW))
        self.density.fit(moments)

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        maps_BHW: Tensor = self.upsampling(self.density(self.backbone(images_B3HW)))
        return maps_BHW


class MemoryDetector(nn.Module):
    """Nearest neighbours among good patches of a frozen backbone: preset ``memory``."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config)
        self.input_size = input_size(config, self.backbone.multiple, self.backbone.stride)
        self.density = PatchMemory(
            self.backbone.width, config.size, cosine=config.distance == "cosine", position_weight=config.position_weight
        )
        grid = grid_shape(config, self.backbone.multiple, self.backbone.stride)
        self.upsampling = Resize(grid, self.input_size, config.smoothing)

    @torch.inference_mode()
    def fit(self, batches: Iterable[Tensor], count: int, seed: int) -> None:
        """Fit to ``count`` good images, batches of ``(B, 3, H, W)`` in [0, 1]; ``seed`` decides the coreset."""
        sampled = SampledPatches(count, torch.Generator().manual_seed(seed))
        for images_B3HW in batches:
            sampled.add(self.backbone(images_B3HW))
        self.density.fit(*sampled.drawn())

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
