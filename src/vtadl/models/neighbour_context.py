"""What the patches around a patch's neighbourhood say of it, inside VT-ADL: the context of a density."""

import torch
from torch import Tensor, nn

from vtadl.nn.masked_attention import NeighbourMaskedBlock, outside

DEPTH = 2
"""Layers of attention, as many as in preset ``context``."""


class NeighbourContext(nn.Module):
    """``(B, N, D)`` patch embeddings to the same, standardised, and the context of each, both ``(B, N, D)``.

    Each dimension is standardised over all patches of a batch (in scoring, by what was seen in training) without
    learned gains, so that a likelihood cannot be raised by shrinking them all. The context of a patch depends on the
    patches outside its neighbourhood alone, whatever the depth (`vtadl.nn.masked_attention`).

    Args:
        width: D.
        heads: of the attention.
        side: patches along a side of the image; N is its square.
        radius: patches that are masked on each side of a patch; 0 masks it alone.
    """

    def __init__(self, width: int, heads: int, side: int, radius: int) -> None:
        super().__init__()
        self.side = side
        self.standardise = nn.BatchNorm2d(width, affine=False)
        self.key_position = nn.Parameter(torch.randn(side**2, width) * 0.02)
        self.query_position = nn.Parameter(torch.randn(side**2, width) * 0.02)
        self.key_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(NeighbourMaskedBlock(width, heads) for _ in range(DEPTH))
        self.visible: Tensor
        self.register_buffer("visible", outside((side, side), radius), persistent=False)

    def forward(self, patches_BND: Tensor) -> tuple[Tensor, Tensor]:
        # In half precision a density's squared differences would lose what tells patches apart.
        patches_BDHW = patches_BND.float().transpose(1, 2).reshape(len(patches_BND), -1, self.side, self.side)
        judged_BND = self.standardise(patches_BDHW).flatten(2).transpose(1, 2)
        return judged_BND, self.context(judged_BND)

    def context(self, judged_BND: Tensor) -> Tensor:
        """What is known of each patch from the others, ``(B, N, D)``."""
        keys_BND = self.key_norm(judged_BND + self.key_position)
        context_BND = self.query_position.expand(len(judged_BND), -1, -1)
        for block in self.blocks:
            context_BND = block(context_BND, keys_BND, self.visible)
        normed_BND: Tensor = self.norm(context_BND)
        return normed_BND
