"""One Gaussian per position over patch embeddings; the score is the Mahalanobis distance.

Source: T. Defard et al., PaDiM, ICPR 2020. Differences: all channels are kept (no random subset), the covariance is
shrunk by an amount that follows from the number of images, and it is stored as half-precision triangles.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.errors import DataError

PRIOR_IMAGES = 5.0
"""Shrinkage of a position's covariance towards the mean of all: ``(1 - w) * own + w * shared`` with
``w = PRIOR_IMAGES / (PRIOR_IMAGES + images)``, so a half of 5 images and 3 % of 180.

Source: J. Friedman, Regularized Discriminant Analysis, JASA 1989, section 3: the pooled covariance as the target.
"""
MOST_POSITIONS = 48 * 48
"""Gaussians at most, as many as the preset ``gaussian`` has; on a larger grid each is for a block of positions."""
BLOCKS = 4
RIDGE = 0.01
"""Added to the (standardised) variances: bounds the distance where good images do not vary at all."""


class GaussianMoments:
    """Running mean and scatter of the embeddings at each position, exact for any batching up to rounding.

    Batches are merged by Chan's formula about their own means, so that large means cost no precision in float32.

    Args:
        side: of the block of positions that count as one (`shared_blocks`).
    """

    def __init__(self, side: int = 1) -> None:
        self.side = side
        self.count = 0
        self.mean_PD = torch.empty(0)
        self.scatter_PDD = torch.empty(0)

    @classmethod
    def restored(cls, count: int, mean_PD: Tensor, scatter_PDD: Tensor, side: int = 1) -> Self:
        """The moments of ``count`` embeddings a position that are gone; more can be added."""
        moments = cls(side)
        moments.count, moments.mean_PD, moments.scatter_PDD = count, mean_PD, scatter_PDD
        return moments

    def update(self, embeddings_BDHW: Tensor) -> None:
        """Add a batch, ``(B, D, H, W)``."""
        x_PBD = _apart(embeddings_BDHW, self.side).flatten(2).permute(2, 0, 1).contiguous()
        batch = x_PBD.shape[1]
        batch_mean_PD = x_PBD.mean(1)
        x_PBD = x_PBD - batch_mean_PD[:, None]
        if self.count == 0:
            self.mean_PD = batch_mean_PD
            self.scatter_PDD = x_PBD.transpose(1, 2) @ x_PBD
        else:
            shift_PD = batch_mean_PD - self.mean_PD
            # The shift of the mean is one more row of the product: Chan's correction at no extra pass over the scatter.
            weight = (self.count * batch / (self.count + batch)) ** 0.5
            x_PBD = torch.cat([x_PBD, weight * shift_PD[:, None]], dim=1)
            self.scatter_PDD.baddbmm_(x_PBD.transpose(1, 2), x_PBD)
            self.mean_PD = self.mean_PD + shift_PD * (batch / (self.count + batch))
        self.count += batch


class PositionGaussian(nn.Module):
    """A Gaussian for each position of the grid, over embeddings standardised by channel.

    Of a grid of more than `MOST_POSITIONS`, a Gaussian for each block of positions: nearby places look alike there,
    and memory is bounded.

    State: ``mean`` (P, D), ``scale`` (D,), ``whitening`` (P, D (D + 1) / 2) in half precision: the lower triangle of
    the inverse Cholesky factor of each covariance. Half precision moves distances by about 1 in 10,000.
    """

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.side, (rows, columns) = shared_blocks(grid)
        positions = rows * columns
        self.mean: Tensor
        self.scale: Tensor
        self.whitening: Tensor
        self.register_buffer("mean", torch.zeros(positions, width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("whitening", torch.zeros(positions, width * (width + 1) // 2, dtype=torch.float16))
        self._blocks: list[Tensor] = []  # the triangles unpacked, made at the first score

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn from embeddings of the grid, ``(B, D, H, W)`` at a time.

        Raises:
            DataError: no image came.
        """
        moments = self.moments()
        for embeddings_BDHW in batches:
            moments.update(embeddings_BDHW)
        self.fit_moments(moments)

    def moments(self) -> GaussianMoments:
        """To be filled with embeddings of the grid, for `fit_moments`."""
        return GaussianMoments(self.side)

    def fit_moments(self, moments: GaussianMoments) -> None:
        """Take over mean and shrunken covariance.

        Raises:
            DataError: no image came.
        """
        if moments.count == 0:
            raise DataError("a Gaussian needs at least one good image; got none")
        spread_D, covariance_PDD = _standardised(moments)
        covariance_PDD = _shrunk(covariance_PDD, moments)
        identity = torch.eye(covariance_PDD.shape[-1], device=covariance_PDD.device)
        self.mean = moments.mean_PD
        self.scale = spread_D
        rows, columns = torch.tril_indices(*identity.shape)
        packed = []
        # In chunks: the inverse and its packed copy of all positions at once would triple the peak.
        for part_QDD in torch.split(covariance_PDD, 128):
            factor_QDD = torch.linalg.cholesky(part_QDD)
            inverse_QDD = torch.linalg.solve_triangular(factor_QDD, identity.expand_as(factor_QDD), upper=False)
            packed.append(inverse_QDD[:, rows, columns].half())
        self.whitening = torch.cat(packed)
        self._blocks = []

    def forward(self, embeddings_BDHW: Tensor) -> Tensor:
        """Mahalanobis distance of each patch.

        Args:
            embeddings_BDHW: ``(B, D, H, W)``, the grid that was fitted.

        Returns:
            ``(B, H, W)``, divided by the square root of D: about 1 for good patches at any width.
        """
        x_bDhw = _apart(embeddings_BDHW, self.side)
        x_PBD = (x_bDhw.flatten(2) / self.scale[:, None]).permute(2, 0, 1).contiguous()
        x_PBD = x_PBD - (self.mean / self.scale)[:, None]
        distance_PB = self._norms(x_PBD) / embeddings_BDHW.shape[1] ** 0.5
        scores_bhw = distance_PB.T.reshape(-1, *x_bDhw.shape[2:])  # (P, B) -> (B, P) -> (B, H, W)
        return _together(scores_bhw, self.side, self.grid)

    def _norms(self, x_PBD: Tensor) -> Tensor:
        """``(P, B)``; a block of rows of a triangular matrix needs only the dimensions up to its last row."""
        norms = [
            torch.linalg.vector_norm(x_PBD[..., : block.shape[1]] @ block, dim=2) for block in self._unpacked_once()
        ]
        norms_PB: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        return norms_PB

    def _unpacked_once(self) -> list[Tensor]:
        if torch.compiler.is_exporting():
            return self._unpacked()  # an exported graph keeps the triangles packed
        if not self._blocks or self._blocks[0].device != self.whitening.device:
            self._blocks = self._unpacked()
        return self._blocks

    def _unpacked(self) -> list[Tensor]:
        """The triangles in blocks of rows, turned, ``(P, last row, rows)``: two fifths less to read than whole squares.

        Rows of vectors times turned blocks: on a CPU, blocks times a column take four times as long.
        """
        width = self.scale.shape[0]
        numbers_D = torch.arange(width, device=self.whitening.device)
        first_D = numbers_D * (numbers_D + 1) // 2  # where each row begins
        # Above the diagonal any element will do, as tril sets it to zero.
        index_DD = first_D[:, None] + torch.minimum(numbers_D[:, None], numbers_D)
        blocks = []
        for first, last in pairwise(width * block // BLOCKS for block in range(BLOCKS + 1)):
            index_CR = index_DD[first:last, :last].T
            values_PCR = self.whitening.index_select(1, index_CR.flatten()).view(-1, *index_CR.shape)
            blocks.append(values_PCR.float().triu_(-first))
        return [block for block in blocks if block.numel()]


def shared_blocks(grid: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """The blocks of positions that share a Gaussian: their side, 1 up to `MOST_POSITIONS`, and rows and columns."""
    side, (rows, columns) = 1, grid
    while rows * columns > MOST_POSITIONS:
        side += 1
        rows, columns = -(-grid[0] // side), -(-grid[1] // side)
    return side, (rows, columns)


def _apart(embeddings_BDHW: Tensor, side: int) -> Tensor:
    """Squares of positions to images of their own, each with one position of every square: ``(B side^2, D, h, w)``."""
    if side == 1:
        return embeddings_BDHW
    rows, columns = embeddings_BDHW.shape[2:]
    whole_BDHW = F.pad(embeddings_BDHW, (0, -columns % side, 0, -rows % side), mode="replicate")
    batch, width, high, wide = whole_BDHW.shape
    blocks_BDhswt = whole_BDHW.reshape(batch, width, high // side, side, wide // side, side)
    return blocks_BDhswt.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)


def _together(scores_bhw: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """The scores of `_apart` where they belong, ``(B, *grid)``."""
    if side == 1:
        return scores_bhw
    rows, columns = scores_bhw.shape[1:]
    blocks_Bsthw = scores_bhw.reshape(-1, side, side, rows, columns)
    whole_BHW = blocks_Bsthw.permute(0, 3, 1, 4, 2).reshape(-1, rows * side, columns * side)
    return whole_BHW[:, : grid[0], : grid[1]]


def _standardised(moments: GaussianMoments) -> tuple[Tensor, Tensor]:
    """Standard deviation of each channel over all positions and images, and covariances in its units."""
    within_PD = moments.scatter_PDD.diagonal(dim1=1, dim2=2) / moments.count
    spread_D = (within_PD.mean(0) + moments.mean_PD.var(0, correction=0)).sqrt()
    spread_D = spread_D.clamp_min(torch.finfo(spread_D.dtype).eps * moments.mean_PD.abs().amax(0) + 1e-12)
    covariance_PDD = moments.scatter_PDD / max(moments.count - 1, 1)
    return spread_D, covariance_PDD.div_(spread_D[:, None] * spread_D)


def _shrunk(covariance_PDD: Tensor, moments: GaussianMoments) -> Tensor:
    """Blend each covariance with the mean of all, the more the fewer images there are, and add a ridge."""
    shared_DD = covariance_PDD.mean(0)
    if moments.count == 1:
        # One image says nothing of variation at a position: take the variation between positions.
        shared_DD = torch.eye(len(shared_DD), device=shared_DD.device)
    weight = PRIOR_IMAGES / (PRIOR_IMAGES + moments.count)
    ridge = RIDGE * shared_DD.diagonal().mean().clamp_min(1e-6)
    shrunk_PDD = covariance_PDD.mul_(1 - weight).add_(weight * shared_DD)
    shrunk_PDD.diagonal(dim1=1, dim2=2).add_(ridge)
    return shrunk_PDD
