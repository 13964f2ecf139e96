"""Resizing images to one size as two matrix products, which every runtime has and gives the same result for."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Resize(nn.Module):
    """Bilinear with antialiasing, as `torch.nn.functional.interpolate` does it: linear in rows, then in columns.

    Args:
        size: height and width of the images.
        new_size: of the result.
    """

    def __init__(self, size: tuple[int, int], new_size: tuple[int, int]) -> None:
        super().__init__()
        self.rows: Tensor
        self.columns: Tensor
        for name, side, new_side in zip(("rows", "columns"), size, new_size, strict=True):
            self.register_buffer(name, _weights(side, new_side), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Args: ``(B, C, *size)``. Returns ``(B, C, *new_size)``."""
        resized_BCHW: Tensor = self.rows @ images_BCHW @ self.columns.T
        return resized_BCHW


def _weights(side: int, new_side: int) -> Tensor:
    """What each old row gives each new one, ``(new_side, side)``."""
    identity_11SS = torch.eye(side, device="cpu")[None, None]
    return F.interpolate(identity_11SS, (new_side, side), mode="bilinear", antialias=True, align_corners=False)[0, 0]
