"""Images as sequences of flattened patches, their linear projection, and learned positions.

Source: A. Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, eq. 1.
"""

import torch
from torch import Tensor, nn


def patchify(images_BCHW: Tensor, patch_size: int) -> Tensor:
    """Cut images into patches, row by row, and flatten each in the order (row, column, channel).

    Args:
        images_BCHW: ``(B, C, H, W)``; H and W are multiples of ``patch_size``.
        patch_size: side of a patch in pixels.

    Returns:
        ``(B, N, patch_size^2 C)`` with ``N = H W / patch_size^2``.
    """
    batch, channels, height, width = images_BCHW.shape
    rows, columns = height // patch_size, width // patch_size
    x = images_BCHW.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


class PatchEmbedding(nn.Module):
    """``(B, 3, H, W)`` to ``(B, N, width)``: a linear projection of each flattened patch."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(3 * patch_size**2, width)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        embeddings_BND: Tensor = self.projection(patchify(images_B3HW, self.patch_size))
        return embeddings_BND


class LearnedPositions(nn.Module):
    """Adds a learned vector to each position of a ``(B, N, D)`` sequence of the length N it was made for."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(1, length, width))

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND + self.embedding
