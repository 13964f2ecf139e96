"""Nearest neighbours in a memory of good patches.

Source: K. Roth et al., PatchCore, CVPR 2022; by cosine as in S. Damm et al., AnomalyDINO, WACV 2025. The memory is a
greedy k-centre coreset, chosen in batches: in each round the farthest patches that also lie far from one another. The
cover is that of the plain greedy choice to within a few per cent, in a small part of its time.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.errors import DataError

PROJECTED_WIDTH = 32
"""Width of the random projection in which the coreset is chosen (Johnson-Lindenstrauss)."""
ROUND = 16
"""Patches that a round of the coreset adds, at most."""
CANDIDATES = 250_000
"""Training patches among which the coreset is chosen, at most; beyond, each image gives an equal random share."""

PRODUCT = 2**22
"""Distances that are held at once, at most (16 MB): more no longer stay in the cache."""
BLOCK = 64
"""Distances among which the nearest is looked up; the least of each block is found five times sooner than its place."""
TILES = 4
"""Along a side: where position counts, each tile of a grid is searched in what the memory holds near it."""
NEAR = 0.4
"""How far around a tile, in the units of `places`. Farther patches are too far to be the nearest of most."""


class PatchMemory(nn.Module):
    """Good patches, standardised by channel. State: ``patches`` (M, D) in half precision and ``scale`` (D,).

    Args:
        width: D.
        size: patches to keep, at most.
        cosine: compare directions: patches have length 1 in place of standardised channels, and ``scale`` is 1.
        position_weight: how far, in the units of the score, half the image is from here: a patch is then compared
            with those of about its own place. 0: a patch may be anywhere.
    """

    def __init__(self, width: int, size: int, *, cosine: bool = False, position_weight: float = 0.0) -> None:
        super().__init__()
        self.scale: Tensor
        self.patches: Tensor
        self.register_buffer("scale", torch.ones(width))
        self.position_weight = position_weight
        stored = width + (2 if position_weight else 0)
        self.register_buffer("patches", torch.zeros(0, stored, dtype=torch.float16))
        self.size = size
        self.cosine = cosine
        self._searched: tuple[Tensor, Tensor] | None = None  # what a search takes, made at the first score
        self._tiles: tuple[tuple[int, int], list[_Tile]] | None = None  # the same of each tile of a grid

    def fit(self, patches_ND: Tensor, generator: torch.Generator, places_N2: Tensor | None = None) -> None:
        """Keep the coreset of ``patches_ND``, ``(N, D)``; all of them where there are fewer than the memory holds.

        Args:
            patches_ND: good patches.
            generator: decides the coreset.
            places_N2: where each patch was (`places`), if position counts.

        Raises:
            DataError: there are no patches.
        """
        if len(patches_ND) == 0:
            raise DataError("a memory needs at least one good image; got none")
        if not self.cosine:
            self.scale = patches_ND.std(0, correction=0).clamp_min(1e-6)
        self.patches = self.patches[:0].to(patches_ND.device)
        self.extend(patches_ND, generator, places_N2)

    def extend(self, patches_ND: Tensor, generator: torch.Generator, places_N2: Tensor | None = None) -> None:
        """Keep the coreset of what the memory holds and more patches, on the scale of before; arguments as of `fit`."""
        all_MD = torch.cat([self.patches.float(), self._comparable(patches_ND, places_N2)])
        self.patches = all_MD[greedy_coreset(all_MD, self.size, generator)].half()
        self._searched = self._tiles = None

    def forward(self, embeddings_BDHW: Tensor) -> Tensor:
        """Distance of each patch to its nearest neighbour in the memory.

        Args:
            embeddings_BDHW: ``(B, D, H, W)``.

        Returns:
            ``(B, H, W)``, divided by the square root of D; by cosine: 1 - cosine, 0 to 2.
        """
        batch, width, rows, columns = embeddings_BDHW.shape
        places_N2 = places(rows, columns, embeddings_BDHW.device).repeat(batch, 1) if self.position_weight else None
        x_ND = self._comparable(embeddings_BDHW.permute(0, 2, 3, 1).flatten(0, 2), places_N2)
        if self.position_weight and x_ND.device.type == "cpu" and not torch.compiler.is_exporting():
            distance_BHW = self._nearest_by_place(x_ND.view(batch, rows, columns, -1), width)
        else:
            distance_BHW = nearest_distance(x_ND, *self._searched_once()).view(-1, rows, columns)
        # Between vectors of length 1, the squared distance is 2 - 2 cosine.
        scores_BHW: Tensor = distance_BHW.square() / 2 if self.cosine else distance_BHW / width**0.5
        return scores_BHW

    def _nearest_by_place(self, x_BHWD: Tensor, width: int) -> Tensor:
        """As `nearest_distance`, in half the time: each tile's patches among those of about their place.

        Places alone put all others `NEAR` away, so that what is found nearer than that is the nearest; for the rest the
        whole memory is searched.
        """
        distance_BHW = torch.full(x_BHWD.shape[:3], torch.inf, dtype=x_BHWD.dtype)
        for tile in self._tiles_once((x_BHWD.shape[1], x_BHWD.shape[2]), width):
            x_BhwD = x_BHWD[:, tile.rows, tile.columns]
            found_N = nearest_distance(x_BhwD.flatten(0, 2), *tile.searched)
            distance_BHW[:, tile.rows, tile.columns] = found_N.view(x_BhwD.shape[:3])
        far_BHW = distance_BHW > NEAR * self._place_scale(width)
        if far_BHW.any():
            distance_BHW[far_BHW] = nearest_distance(x_BHWD[far_BHW], *self._searched_once())
        return distance_BHW

    def _tiles_once(self, grid: tuple[int, int], width: int) -> list["_Tile"]:
        if self._tiles is None or self._tiles[0] != grid:
            self._tiles = (grid, self._tiles_of(grid, width))
        return self._tiles[1]

    def _tiles_of(self, grid: tuple[int, int], width: int) -> list["_Tile"]:
        """The tiles that have patches of the memory near them."""
        memory_MD = self.patches.float()
        places_M2 = memory_MD[:, -2:] / self._place_scale(width)
        near = [
            [(cells, _near(places_M, cells, side)) for cells in _slices(side)]
            for places_M, side in zip(places_M2.T, grid, strict=True)
        ]
        tiles = [(rows, columns, near_M & beside_M) for rows, near_M in near[0] for columns, beside_M in near[1]]
        return [_Tile(rows, columns, searchable(memory_MD[kept_M])) for rows, columns, kept_M in tiles if kept_M.any()]

    def _searched_once(self) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_exporting():
            return searchable(self.patches)  # an exported graph keeps half precision
        if self._searched is None or self._searched[0].device != self.patches.device:
            self._searched = searchable(self.patches)
        return self._searched

    def _comparable(self, x_ND: Tensor, places_N2: Tensor | None) -> Tensor:
        width = x_ND.shape[1]
        x_ND = F.normalize(x_ND, dim=1) if self.cosine else x_ND / self.scale
        if places_N2 is None or not self.position_weight:
            return x_ND
        return torch.cat([x_ND, self._place_scale(width) * places_N2], dim=1)

    def _place_scale(self, width: int) -> float:
        """What makes half the image's side alone come to the weight, after `forward`."""
        return math.sqrt(2 * self.position_weight) if self.cosine else self.position_weight * math.sqrt(width)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # A memory of few images holds fewer patches than it may: the stored rows decide.
        rows = state_dict[f"{prefix}patches"].shape[0]
        self.patches = torch.zeros(min(rows, self.size), self.patches.shape[1], dtype=torch.float16)
        self._searched = self._tiles = None
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Tile(NamedTuple):
    rows: slice
    columns: slice
    searched: tuple[Tensor, Tensor]


def _slices(side: int) -> list[slice]:
    bounds = [side * number // TILES for number in range(TILES + 1)]
    return [slice(first, last) for first, last in pairwise(bounds) if first < last]


def _near(places_M: Tensor, cells: slice, side: int) -> Tensor:
    """Which places along a side are at most `NEAR` from those of some cells, ``(M,)`` bool."""
    places_P = torch.linspace(-1, 1, side)[cells]
    return (places_M >= places_P[0] - NEAR) & (places_M <= places_P[-1] + NEAR)


class SampledPatches:
    """Candidates for a memory: an equal random share of every image's patches, `CANDIDATES` in all at most.

    Args:
        count: images to come; those of later draws give as large a share.
        generator: of the CPU; decides which patches, and then the coreset.
    """

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.share = max(CANDIDATES // max(count, 1), 1)
        self.generator = generator
        self.patches: list[Tensor] = []
        self.places: list[Tensor] = []

    def add(self, embeddings_BDHW: Tensor) -> None:
        """Take from some images, ``(B, D, H, W)``."""
        _, _, rows, columns = embeddings_BDHW.shape
        where_P2 = places(rows, columns, embeddings_BDHW.device)
        for embeddings_DP in embeddings_BDHW.flatten(2):
            keep = torch.randperm(embeddings_DP.shape[1], generator=self.generator)[: self.share]
            keep = keep.to(embeddings_DP.device)
            self.patches.append(embeddings_DP[:, keep].T)
            self.places.append(where_P2[keep])

    def drawn(self) -> tuple[Tensor, torch.Generator, Tensor | None]:
        """What `PatchMemory.fit` or `extend` takes of the images since the last call."""
        if not self.patches:
            return torch.empty(0, 0), self.generator, None
        patches_ND, places_N2 = torch.cat(self.patches), torch.cat(self.places)
        self.patches, self.places = [], []
        return patches_ND, self.generator, places_N2


def places(height: int, width: int, device: torch.device) -> Tensor:
    """Where each patch of a grid is, row by row: ``(H * W, 2)``, from -1 at one border to 1 at the other."""
    rows, columns = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)


def searchable(patches_MD: Tensor) -> tuple[Tensor, Tensor]:
    """What `nearest_distance` takes: patches in single precision, to whole blocks, and halves of their squared norms.

    Whatever fills the last block is infinitely far.
    """
    memory_MD = patches_MD.float()
    missing = 0 if torch.compiler.is_exporting() else -len(memory_MD) % BLOCK
    half_norms_M = F.pad(memory_MD.square().sum(1) / 2, (0, missing), value=torch.inf)
    return F.pad(memory_MD, (0, 0, 0, missing)), half_norms_M


def nearest_distance(x_ND: Tensor, memory_MD: Tensor, half_norms_M: Tensor) -> Tensor:
    """Euclidean distance from each row of ``x_ND`` to the nearest row of a memory (`searchable`); ``(N,)``.

    The search uses one matrix product; the winners' distances are then computed directly, so that the product's
    cancellation does not show in small distances.
    """
    if torch.compiler.is_exporting():
        nearest_N = torch.addmm(half_norms_M, x_ND, memory_MD.T, alpha=-1).argmin(1)
    else:
        rows = max(PRODUCT // len(memory_MD), 1)
        nearest_N = torch.cat([_nearest(x_nD, memory_MD, half_norms_M) for x_nD in torch.split(x_ND, rows)])
    distance_N: Tensor = torch.linalg.vector_norm(x_ND - memory_MD[nearest_N], dim=1)
    return distance_N


def _nearest(x_ND: Tensor, memory_MD: Tensor, half_norms_M: Tensor) -> Tensor:
    relative_NKB = torch.addmm(half_norms_M, x_ND, memory_MD.T, alpha=-1).view(len(x_ND), -1, BLOCK)
    block_N = relative_NKB.amin(2).argmin(1)
    within_N = relative_NKB[torch.arange(len(x_ND), device=x_ND.device), block_N].argmin(1)
    return block_N * BLOCK + within_N


def greedy_coreset(x_ND: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Indices of a subset that covers all rows: no row is far from its nearest chosen one.

    Args:
        x_ND: ``(N, D)``.
        size: rows to choose, at most.
        generator: source of the random projection and of the first row.

    Returns:
        ``(min(size, N),)`` distinct indices. Cost: N * size * PROJECTED_WIDTH.
    """
    if len(x_ND) <= size:
        return torch.arange(len(x_ND), device=x_ND.device)
    # Drawn on the CPU, so that the same seed draws the same on every device.
    projection = torch.randn(x_ND.shape[1], PROJECTED_WIDTH, generator=generator) / PROJECTED_WIDTH**0.5
    x_NK = x_ND @ projection.to(x_ND)
    norms_N = x_NK.square().sum(1)

    chosen = torch.empty(size, dtype=torch.long, device=x_ND.device)
    chosen[0] = int(torch.randint(len(x_NK), (1,), generator=generator))
    count, fresh = 1, chosen[:1]
    distance_N = torch.full_like(norms_N, torch.inf)
    while count < size:
        squared_NR = torch.addmm(norms_N[:, None] + norms_N[fresh], x_NK, x_NK[fresh].T, alpha=-2)
        distance_N = torch.minimum(distance_N, squared_NR.amin(1))
        distance_N[fresh] = -1
        fresh = _far_apart(x_NK, distance_N, min(ROUND, size - count))
        chosen[count : count + len(fresh)] = fresh
        count += len(fresh)
    return chosen


def _far_apart(x_NK: Tensor, distance_N: Tensor, most: int) -> Tensor:
    """The greedy choice among the farthest rows, as long as it stays as far out as the candidates themselves."""
    value, index = distance_N.topk(min(4 * most, int((distance_N >= 0).sum())))
    between = torch.cdist(x_NK[index], x_NK[index]).square()
    remaining = value.clone()
    picked: list[int] = []
    for _ in range(most):
        best = int(remaining.argmax())
        # Below the last candidate's distance, a row outside the candidates might have been the better choice.
        if picked and remaining[best] < value[-1]:
            break
        picked.append(best)
        remaining = torch.minimum(remaining, between[best])
        remaining[best] = -1
    return index[picked]
