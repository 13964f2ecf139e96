"""The nearest row of a memory, exactly: one matrix product at a time, and by place where places are part of rows."""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PRODUCT = 2**22
"""Distances that are held at once, at most (16 MB): more no longer stay in the cache."""
BLOCK = 64
"""Distances among which the nearest is looked up; the least of each block is found five times sooner than its place."""
TILES = 3
"""Along a side: where position counts, each tile of a grid is searched in what is near it."""
NEAR = 0.4
"""How far around a tile counts as near it, with an image from -1 to 1. Rows from farther away are seldom nearest."""


def searchable(patches_MD: Tensor) -> Tensor:
    """What `nearest_distance` takes: patches in single precision, and a column of halves of their squared norms.

    There are rows to whole blocks, ``(M', D + 1)``; whatever fills the last one is infinitely far.
    """
    memory_MD = patches_MD.float()
    missing = 0 if torch.compiler.is_exporting() else -len(memory_MD) % BLOCK
    half_norms_M = F.pad(memory_MD.square().sum(1) / 2, (0, missing), value=torch.inf)
    return torch.cat([F.pad(memory_MD, (0, 0, 0, missing)), half_norms_M[:, None]], dim=1)


def nearest_distance(x_ND: Tensor, memory_ME: Tensor) -> Tensor:
    """Euclidean distance from each row of ``x_ND`` to the nearest row of a memory (`searchable`); ``(N,)``.

    The search uses one matrix product; the winners' distances are then computed directly, so that the product's
    cancellation does not show in small distances.
    """
    if torch.compiler.is_exporting():
        nearest_N = _relative(memory_ME, x_ND).T.argmin(1)
    else:
        rows = max(PRODUCT // len(memory_ME), 1)
        nearest_N = torch.cat([_nearest(x_nD, memory_ME) for x_nD in torch.split(x_ND, rows)])
    distance_N: Tensor = torch.linalg.vector_norm(x_ND - memory_ME[nearest_N, :-1], dim=1)
    return distance_N


def _relative(memory_ME: Tensor, x_ND: Tensor) -> Tensor:
    """Half the squared distance from each row of the memory, less what is the same for all, ``(M, N)``.

    The memory stands first: of few rows by many, a processor multiplies this way round in two thirds of the time.
    """
    return memory_ME @ F.pad(-x_ND, (0, 1), value=1.0).T


def _nearest(x_ND: Tensor, memory_ME: Tensor) -> Tensor:
    relative_KBN = _relative(memory_ME, x_ND).view(-1, BLOCK, len(x_ND))
    block_N = relative_KBN.amin(1).argmin(0)
    within_N = relative_KBN[block_N, :, torch.arange(len(x_ND), device=x_ND.device)].argmin(1)
    return block_N * BLOCK + within_N


class NearestByPosition:
    """`nearest_distance` in half the time where the last two of a row say where it was: each tile of a grid is searched
    among the rows from about its place.

    Places alone put all others `NEAR` away, so what is found nearer than that is the nearest; for the rest of the grid
    the whole memory is searched.

    Args:
        memory_MD: rows of a memory, on the CPU.
        place_scale: by which places were multiplied to stand in the rows.
        grid: rows and columns of what is to be looked up.
    """

    def __init__(self, memory_MD: Tensor, place_scale: float, grid: tuple[int, int]) -> None:
        self.grid = grid
        self.far = NEAR * place_scale
        self.whole = searchable(memory_MD)
        near_rows, near_columns = (
            [(cells, _near(places_M, cells, side)) for cells in _slices(side)]
            for places_M, side in zip((memory_MD[:, -2:].float() / place_scale).T, grid, strict=True)
        )
        self.tiles = [
            _Tile(rows, columns, searchable(memory_MD[near_M & beside_M]))
            for rows, near_M in near_rows
            for columns, beside_M in near_columns
            if (near_M & beside_M).any()
        ]

    def __call__(self, x_BHWD: Tensor) -> Tensor:
        """Distance from each of ``(B, *grid, D)`` to the nearest row of the memory, ``(B, *grid)``."""
        distance_BHW = torch.full(x_BHWD.shape[:3], torch.inf)
        for tile in self.tiles:
            x_BhwD = x_BHWD[:, tile.rows, tile.columns]
            found_N = nearest_distance(x_BhwD.flatten(0, 2), tile.searched)
            distance_BHW[:, tile.rows, tile.columns] = found_N.view(x_BhwD.shape[:3])
        far_BHW = distance_BHW > self.far
        if far_BHW.any():
            distance_BHW[far_BHW] = nearest_distance(x_BHWD[far_BHW], self.whole)
        return distance_BHW


class _Tile(NamedTuple):
    rows: slice
    columns: slice
    searched: Tensor


def _slices(side: int) -> list[slice]:
    bounds = [side * number // TILES for number in range(TILES + 1)]
    return [slice(first, last) for first, last in pairwise(bounds) if first < last]


def _near(places_M: Tensor, cells: slice, side: int) -> Tensor:
    """Which places along a side are at most `NEAR` from those of some cells, ``(M,)`` bool."""
    places_P = torch.linspace(-1, 1, side)[cells]
    return (places_M >= places_P[0] - NEAR) & (places_M <= places_P[-1] + NEAR)
