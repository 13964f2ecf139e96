"""What a fused detector is made of: a density over patch embeddings, on a scale that others can be added to."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.density.gaussian import GaussianMoments, PositionGaussian
from vtadl.density.memory import PatchMemory, SampledPatches
from vtadl.density.packed_scatter import pack_scatter, unpack_scatter
from vtadl.density.standardisation import Standardisation
from vtadl.models.detector import check_covariances

VALIDATION = 8
"""One image in so many tells how the Gaussians score what they did not learn."""
PROJECTED = 64
"""Principal components that the memory over a CNN's channels compares."""


class Fitting(Protocol):
    """Learns a component from the embeddings of good images."""

    def add(self, embeddings_BDHW: Tensor) -> None:
        """Learn from some images, in their order."""

    def finish(self) -> None:
        """Fit the density to all that was added."""

    def unseen(self, kept: Iterable[tuple[int, Tensor]]) -> Tensor:
        """What some of the images would have scored, had they not been learned: ``(N, *grid)``, N may be 0.

        Args:
            kept: embeddings ``(1, D, H, W)`` of some images, each with its number, counted from 0 as they were added.
        """

    def learned(self) -> dict[str, Tensor]:
        """What learning more later takes, and the density does not hold; ``earlier`` of another fitting."""


class GaussianComponent(nn.Module):
    """One Gaussian per position over 2 x 2 patches, averaged: where a part of an object is missing or out of place."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.pooling = 1 if grid[0] % 2 or grid[1] % 2 else 2
        self.grid = (grid[0] // self.pooling, grid[1] // self.pooling)
        check_covariances(self.grid, width)
        self.density = PositionGaussian(width, self.grid)
        self.standardisation = Standardisation(self.grid, by_position=False)

    def forward(self, embeddings_BDHW: Tensor) -> Tensor:
        scores_BHW: Tensor = self.standardisation(self.density(self.pooled(embeddings_BDHW)))
        return scores_BHW

    def fitting(self, count: int, seed: int, earlier: Mapping[str, Tensor] | None = None) -> Fitting:
        return _GaussianFitting(self, earlier)

    def pooled(self, embeddings_BDHW: Tensor) -> Tensor:
        """The patches that share a Gaussian, averaged: ``(B, D, *grid)``."""
        return F.avg_pool2d(embeddings_BDHW, self.pooling)


class _GaussianFitting:
    """Every eighth image is scored by what was fitted to the others, and only then learned."""

    def __init__(self, component: GaussianComponent, earlier: Mapping[str, Tensor] | None) -> None:
        self.component = component
        density = component.density
        self.moments = density.moments()
        if earlier is not None:
            scatter_PDD = unpack_scatter(earlier)
            self.moments = GaussianMoments.restored(int(earlier["count"]), density.mean, scatter_PDD, density.side)
        self.count = 0
        self.validation: list[Tensor] = []
        self.scores: list[Tensor] = []

    def add(self, embeddings_BDHW: Tensor) -> None:
        pooled_BDHW = self.component.pooled(embeddings_BDHW)
        numbers = torch.arange(self.count, self.count + len(pooled_BDHW))
        is_validation = numbers % VALIDATION == 0
        self.count += len(pooled_BDHW)
        self.validation += [embeddings_DHW[None] for embeddings_DHW in pooled_BDHW[is_validation]]
        if not is_validation.all():
            self.moments.update(pooled_BDHW[~is_validation])

    def finish(self) -> None:
        density = self.component.density
        if self.moments.count:
            density.fit_moments(self.moments)
            self.scores = [density(embeddings_1DHW) for embeddings_1DHW in self.validation]
        for embeddings_1DHW in self.validation:
            self.moments.update(embeddings_1DHW)
        density.fit_moments(self.moments)

    def unseen(self, kept: Iterable[tuple[int, Tensor]]) -> Tensor:
        return torch.cat(self.scores) if self.scores else torch.empty(0, *self.component.grid)

    def learned(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.moments.count), **pack_scatter(self.moments.scatter_PDD)}


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

    def fitting(self, count: int, seed: int, earlier: Mapping[str, Tensor] | None = None) -> Fitting:
        return _MemoryFitting(self, count, seed, extends=earlier is not None)


class _MemoryFitting:
    """Learns a memory, or extends the one that there is: on its scale and principal components, then thinned."""

    def __init__(self, component: MemoryComponent, count: int, seed: int, *, extends: bool) -> None:
        self.density, self.grid, self.extends = component.density, component.grid, extends
        self.sampled = SampledPatches(count, torch.Generator().manual_seed(seed))
        self.image_M = torch.empty(0, dtype=torch.long)

    def add(self, embeddings_BDHW: Tensor) -> None:
        self.sampled.add(embeddings_BDHW)

    def finish(self) -> None:
        patches_ND, generator, _ = self.sampled.drawn()
        there = len(self.density.patches) if self.extends else 0
        kept_M = (self.density.extend if self.extends else self.density.fit)(patches_ND, generator).cpu()
        counts = torch.tensor([there, *self.sampled.images])
        # Patches that were there before are of no image here: -1.
        self.image_M = torch.arange(-1, len(counts) - 1).repeat_interleave(counts)[kept_M]

    def unseen(self, kept: Iterable[tuple[int, Tensor]]) -> Tensor:
        """Each image by the patches of all others."""
        scores = []
        for number, embeddings_1DHW in kept:
            own_M = (self.image_M == number).to(embeddings_1DHW.device)
            if not own_M.all():
                scores.append(self.density.without(own_M)(embeddings_1DHW))
        return torch.cat(scores) if scores else torch.empty(0, *self.grid)

    def learned(self) -> dict[str, Tensor]:
        return {}
