"""Learned positions.

Source: A. Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, eq. 1.
"""

import torch
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """Adds a learned vector to each position of a ``(B, N, D)`` sequence of the length N it was made for."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(1, length, width))

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND + self.embedding
