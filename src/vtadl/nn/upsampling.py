"""Scores of patches to smooth maps of pixels, as two matrix products: a fraction of the time of a convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.nn.smoothing import gaussian_kernel


class Upsampling(nn.Module):
    """Bilinear interpolation and then Gaussian smoothing; both are linear in rows, and in columns.

    Args:
        grid: height and width of the scores in patches.
        size: of the map in pixels.
        smoothing: standard deviation of the Gaussian in pixels; 0 leaves it out.
    """

    def __init__(self, grid: tuple[int, int], size: tuple[int, int], smoothing: float) -> None:
        super().__init__()
        self.rows: Tensor
        self.columns: Tensor
        for name, side, new_side in zip(("rows", "columns"), grid, size, strict=True):
            self.register_buffer(name, _weights(side, new_side, smoothing), persistent=False)

    def forward(self, scores_BHW: Tensor) -> Tensor:
        """Args: ``(B, *grid)``. Returns ``(B, *size)``."""
        maps_BHW: Tensor = self.rows @ scores_BHW @ self.columns.T
        return maps_BHW


def _weights(side: int, new_side: int, smoothing: float) -> Tensor:
    """What each patch of a column or row gives each pixel of it, ``(new_side, side)``."""
    identity_S1S = torch.eye(side, dtype=torch.float64, device="cpu")[:, None]
    weights_S1P = F.interpolate(identity_S1S, new_side, mode="linear", align_corners=False)
    if smoothing:
        kernel = gaussian_kernel(smoothing, weights_S1P)
        radius = len(kernel) // 2
        weights_S1P = F.conv1d(F.pad(weights_S1P, (radius, radius), mode="replicate"), kernel[None, None])
    return weights_S1P[:, 0].T.float().contiguous()
