"""Attention of each patch to its context alone, so that what comes out says nothing of the patch itself.

Masking a patch's neighbours once is not enough in a usual transformer: after two layers their neighbours have told what
they saw. Here keys and values are made from the patches themselves in every layer, never from what a layer gave, and
only the queries continue from layer to layer: whatever the depth, a patch's output depends on the patches it may see.

Source of masking neighbours: Z. You et al., UniAD, NeurIPS 2022, whose layers do mix.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NeighbourMaskedBlock(nn.Module):
    """Queries attend to given keys, then two layers with GELU between; each behind a layer norm, around a skip.

    Args:
        width: D of queries and keys, a multiple of ``heads``.
        heads: number of subspaces.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, queries_BND: Tensor, keys_BND: Tensor, visible_NN: Tensor) -> Tensor:
        """Attend once.

        Args:
            queries_BND: ``(B, N, D)``.
            keys_BND: ``(B, N, D)``.
            visible_NN: ``(N, N)`` bool; ``[i, j]``: query i may see key j.

        Returns:
            ``(B, N, D)``.
        """
        key_BND, value_BND = self.key_value(keys_BND).chunk(2, dim=-1)
        attended_BHNd = F.scaled_dot_product_attention(
            self._split(self.query(self.query_norm(queries_BND))),
            self._split(key_BND),
            self._split(value_BND),
            attn_mask=visible_NN,
        )
        queries_BND = queries_BND + self.out(attended_BHNd.transpose(1, 2).flatten(2))
        out_BND: Tensor = queries_BND + self.mlp(self.mlp_norm(queries_BND))
        return out_BND

    def _split(self, x_BND: Tensor) -> Tensor:
        return x_BND.reshape(*x_BND.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, N, D / heads)


def outside(grid: tuple[int, int], radius: int) -> Tensor:
    """Which patches of a grid lie outside each other's neighbourhood.

    Args:
        grid: rows and columns, N patches in all, counted row by row.
        radius: patches that are masked on each side of a patch; 0 masks it alone.

    Returns:
        ``(N, N)`` bool.
    """
    rows, columns = map(torch.arange, grid)
    near_RR, near_CC = ((number[:, None] - number).abs() <= radius for number in (rows, columns))
    near_RCRC = near_RR[:, None, :, None] & near_CC[None, :, None, :]
    return ~near_RCRC.flatten(2).flatten(0, 1)
