"""What a fused detector is made of: a density over patch embeddings, on a scale that others can be added to."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.density.gaussian import PositionGaussian
from vtadl.density.memory import PatchMemory, SampledPatches
from vtadl.density.standardisation import Standardisation
from vtadl.models.detector import check_covariances

PROJECTED = 64
"""Principal components that the memory over a CNN's channels compares."""


class Fitting(Protocol):
    """Learns a component from the embeddings of good images."""

    def add(self, embeddings_BDHW: Tensor) -> None:
        """Learn from some images, in their order."""

    def finish(self) -> None:
        """Fit the density to all that was added."""

    def left_out(self, embeddings_1DHW: Tensor, number: int) -> Tensor:
        """What an image would have scored, had it not been learned, ``(1, *grid)``.

        Args:
            embeddings_1DHW: of the image.
            number: which image it was, counted from 0.
        """


class GaussianComponent(nn.Module):
    """One Gaussian per position over 2 x 2 patches, averaged: where a part of an object is missing or out of place.

    Args:
        width: D.
        grid: rows and columns of the embeddings.
    """

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.pooling = 1 if grid[0] % 2 or grid[1] % 2 else 2
        self.grid = (grid[0] // self.pooling, grid[1] // self.pooling)
        check_covariances(self.grid, width)
        self.density = PositionGaussian(width, self.grid)
        self.standardisation = Standardisation(self.grid, by_position=False)

    def forward(self, embeddings_BDHW: Tensor) -> Tensor:
        scores_BHW: Tensor = self.standardisation(self.density(self._pooled(embeddings_BDHW)))
        return scores_BHW

    def fitting(self, count: int, seed: int) -> Fitting:
        return _GaussianFitting(self)

    def _pooled(self, embeddings_BDHW: Tensor) -> Tensor:
        return F.avg_pool2d(embeddings_BDHW, self.pooling)


class _GaussianFitting:
    def __init__(self, component: GaussianComponent) -> None:
        self.component = component
        self.moments = component.density.moments()

    def add(self, embeddings_BDHW: Tensor) -> None:
        self.moments.update(self.component._pooled(embeddings_BDHW))

    def finish(self) -> None:
        self.component.density.fit(self.moments)

    def left_out(self, embeddings_1DHW: Tensor, number: int) -> Tensor:
        density = self.component.density
        return density.left_out(density(self.component._pooled(embeddings_1DHW)), self.moments.count)


class MemoryComponent(nn.Module):
    """Nearest neighbours in a coreset of good patches: whatever looks like nothing that was seen, wherever it is.

    Over a Vision Transformer patches are compared by cosine. Over a CNN they are compared by the principal components
    of standardised channels, and scores are standardised by position: there the border looks unusual in every image.

    Args:
        width: D.
        grid: rows and columns of the embeddings.
        size: patches to keep, at most.
        cosine: which of the two.
    """

    def __init__(self, width: int, grid: tuple[int, int], size: int, *, cosine: bool) -> None:
        super().__init__()
        self.grid = grid
        self.density = PatchMemory(width, size, cosine=cosine, projected=None if cosine else PROJECTED)
        self.standardisation = Standardisation(grid, by_position=not cosine)

    def forward(self, embeddings_BDHW: Tensor) -> Tensor:
        scores_BHW: Tensor = self.standardisation(self.density(embeddings_BDHW))
        return scores_BHW

    def fitting(self, count: int, seed: int) -> Fitting:
        return _MemoryFitting(self, count, seed)


class _MemoryFitting:
    def __init__(self, component: MemoryComponent, count: int, seed: int) -> None:
        self.density = component.density
        self.sampled = SampledPatches(count, torch.Generator().manual_seed(seed))
        self.image_M = torch.empty(0, dtype=torch.long)

    def add(self, embeddings_BDHW: Tensor) -> None:
        self.sampled.add(embeddings_BDHW)

    def finish(self) -> None:
        patches_ND, generator, _ = self.sampled.drawn()
        kept_M = self.density.fit(patches_ND, generator).cpu()
        counts = torch.tensor(self.sampled.images)
        self.image_M = torch.arange(len(counts)).repeat_interleave(counts)[kept_M]

    def left_out(self, embeddings_1DHW: Tensor, number: int) -> Tensor:
        own_M = (self.image_M == number).to(embeddings_1DHW.device)
        scores_1HW: Tensor = self.density.without(own_M)(embeddings_1DHW)
        return scores_1HW
