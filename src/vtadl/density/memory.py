"""Nearest neighbours in a memory of good patches.

Source: K. Roth et al., PatchCore, CVPR 2022; by cosine as in S. Damm et al., AnomalyDINO, WACV 2025. The memory is a
greedy k-centre coreset (`vtadl.density.coreset`).
"""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.density.coreset import greedy_coreset
from vtadl.density.nearest import nearest_distance, searchable
from vtadl.errors import DataError

CANDIDATES = 150_000
"""Training patches among which the coreset is chosen, at most; beyond, each image gives an equal random share."""


class PatchMemory(nn.Module):
    """Good patches, standardised by channel. State: ``patches`` (M, D) in half precision and ``scale`` (D,).

    Args:
        width: D.
        size: patches to keep, at most.
        cosine: compare directions: patches have length 1 in place of standardised channels, and ``scale`` is 1.
        position_weight: how far, in the units of the score, half the image is from here: a patch is then compared
            with those of about its own place. 0: a patch may be anywhere.
        projected: K: patches are compared by their first K principal components, which takes half the time of 176
            channels; buffer ``projection`` (D, K). ``None``: by all channels.
    """

    def __init__(
        self,
        width: int,
        size: int,
        *,
        cosine: bool = False,
        position_weight: float = 0.0,
        projected: int | None = None,
    ) -> None:
        super().__init__()
        self.scale: Tensor
        self.patches: Tensor
        self.projection: Tensor | None
        self.register_buffer("scale", torch.ones(width))
        self.position_weight = position_weight
        self.register_buffer("projection", None if projected is None else torch.zeros(width, min(projected, width)))
        stored = width if self.projection is None else self.projection.shape[1]
        stored += 2 if position_weight else 0
        self.register_buffer("patches", torch.zeros(0, stored, dtype=torch.float16))
        self.size = size
        self.cosine = cosine
        self._searched: Tensor | None = None  # what a search takes, made at the first score

    def fit(self, patches_ND: Tensor, generator: torch.Generator, places_N2: Tensor | None = None) -> Tensor:
        """Keep the coreset of ``patches_ND``, ``(N, D)``; all of them where there are fewer than the memory holds.

        Args:
            patches_ND: good patches; overwritten, since a copy of them would be a training's peak of memory.
            generator: decides the coreset.
            places_N2: where each patch was (`places`), if position counts.

        Returns:
            ``(M,)``, the numbers of the patches that are kept, in the order of ``patches``.

        Raises:
            DataError: there are no patches.
        """
        if len(patches_ND) == 0:
            raise DataError("a memory needs at least one good image; got none")
        if self.cosine:
            patches_ND = self._scaled(patches_ND)
        else:
            self.scale = patches_ND.std(0, correction=0).clamp_min(1e-6)
            patches_ND.div_(self.scale)
        if self.projection is not None:
            self.projection = principal_axes(patches_ND, self.projection.shape[1])
        self.patches = self.patches[:0].to(patches_ND.device)
        return self._keep(self._projected(patches_ND, places_N2), generator)

    def extend(self, patches_ND: Tensor, generator: torch.Generator, places_N2: Tensor | None = None) -> Tensor:
        """Keep the coreset of what the memory holds and more patches, on the earlier scale; as `fit`.

        The numbers that come back count what the memory held first.
        """
        return self._keep(self._comparable(patches_ND, places_N2), generator)

    def _keep(self, more_ND: Tensor, generator: torch.Generator) -> Tensor:
        all_MD = torch.cat([self.patches.float(), more_ND])
        kept_M = greedy_coreset(all_MD, self.size, generator)
        self.patches = all_MD[kept_M].half()
        self._searched = None
        return kept_M

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
        distance_BHW = nearest_distance(x_ND, self._searched_once()).view(-1, rows, columns)
        # Between vectors of length 1, the squared distance is 2 - 2 cosine.
        scores_BHW: Tensor = distance_BHW.square() / 2 if self.cosine else distance_BHW / width**0.5
        return scores_BHW

    def without(self, left_out_M: Tensor) -> "PatchMemory":
        """The same memory without some of its patches, ``(M,)`` bool."""
        rest = copy.copy(self)
        rest._buffers = {**self._buffers, "patches": self.patches[~left_out_M]}
        rest._searched = None
        return rest

    def _searched_once(self) -> Tensor:
        if torch.compiler.is_exporting():
            return searchable(self.patches)  # an exported graph keeps half precision
        if self._searched is None or self._searched.device != self.patches.device:
            self._searched = searchable(self.patches)
        return self._searched

    def _comparable(self, x_ND: Tensor, places_N2: Tensor | None) -> Tensor:
        return self._projected(self._scaled(x_ND), places_N2)

    def _scaled(self, x_ND: Tensor) -> Tensor:
        return F.normalize(x_ND, dim=1) if self.cosine else x_ND / self.scale

    def _projected(self, x_ND: Tensor, places_N2: Tensor | None) -> Tensor:
        """Scaled patches as they are compared: by principal components, or with their places."""
        width = x_ND.shape[1]
        if self.projection is not None:
            x_ND = torch.matmul(x_ND, self.projection)
        if places_N2 is None or not self.position_weight:
            return x_ND
        # Half the image's side alone then comes to the weight, after `forward`.
        scale = math.sqrt(2 * self.position_weight) if self.cosine else self.position_weight * math.sqrt(width)
        return torch.cat([x_ND, scale * places_N2], dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # A memory of few images holds fewer patches than it may: the stored rows decide.
        rows = state_dict[f"{prefix}patches"].shape[0]
        self.patches = torch.zeros(min(rows, self.size), self.patches.shape[1], dtype=torch.float16)
        self._searched = None
        super()._load_from_state_dict(state_dict, prefix, *rest)


def principal_axes(x_ND: Tensor, count: int) -> Tensor:
    """The directions in which rows vary most, ``(D, count)``, orthonormal, the last one most."""
    axes_DD: Tensor = torch.linalg.eigh(torch.cov(x_ND.T))[1]
    return axes_DD[:, -count:].contiguous()


class SampledPatches:
    """Candidates for a memory: an equal random share of every image's patches, `CANDIDATES` in all at most.

    Args:
        count: images to come; those of later draws give as large a share.
        generator: of the CPU; decides which patches, and then the coreset.
    """

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.share = count, max(CANDIDATES // max(count, 1), 1)
        self.generator = generator
        self.images: list[int] = []
        """Patches that each image gave, in the order of the images, over all draws."""
        self._patches_ND, self._places_N2 = torch.empty(0, 0), torch.empty(0, 2)
        self._filled = 0

    def add(self, embeddings_BDHW: Tensor) -> None:
        """Take from some images, ``(B, D, H, W)``."""
        _, width, rows, columns = embeddings_BDHW.shape
        where_P2 = places(rows, columns, embeddings_BDHW.device)
        if not len(self._patches_ND):
            # Room for all at once: to join pieces later would take twice the memory. It costs none until it is filled.
            room = self.count * min(self.share, rows * columns)
            self._patches_ND, self._places_N2 = (embeddings_BDHW.new_empty(room, size) for size in (width, 2))
        for embeddings_DP in embeddings_BDHW.flatten(2):
            keep = torch.randperm(embeddings_DP.shape[1], generator=self.generator)[: self.share]
            keep = keep.to(embeddings_DP.device)
            taken = slice(self._filled, self._filled + len(keep))
            self._patches_ND[taken], self._places_N2[taken] = embeddings_DP[:, keep].T, where_P2[keep]
            self.images.append(len(keep))
            self._filled += len(keep)

    def drawn(self) -> tuple[Tensor, torch.Generator, Tensor]:
        """What `PatchMemory.fit` or `extend` takes of the images since the last call."""
        found = self._patches_ND[: self._filled], self.generator, self._places_N2[: self._filled]
        self._patches_ND, self._places_N2, self._filled = torch.empty(0, 0), torch.empty(0, 2), 0
        return found


def places(height: int, width: int, device: torch.device) -> Tensor:
    """Where each patch of a grid is, row by row: ``(H * W, 2)``, from -1 at one border to 1 at the other."""
    rows, columns = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
