"""Gaussian smoothing of anomaly maps, with the border replicated so that edges are neither dimmed nor raised."""

import torch
import torch.nn.functional as F
from torch import Tensor

TRUNCATE = 4.0
"""Radius of the kernel in standard deviations, as in SciPy."""


def gaussian_smooth(maps_BHW: Tensor, sigma: float) -> Tensor:
    """Smooth maps with a Gaussian of ``sigma`` pixels; ``sigma`` 0 changes nothing.

    Args:
        maps_BHW: ``(B, H, W)``.
        sigma: standard deviation in pixels.

    Returns:
        ``(B, H, W)``; equals ``scipy.ndimage.gaussian_filter(..., mode="nearest")``.
    """
    if sigma == 0:
        return maps_BHW
    kernel = gaussian_kernel(sigma, maps_BHW)
    radius = len(kernel) // 2
    x_B1HW = F.pad(maps_BHW[:, None], (radius, radius, radius, radius), mode="replicate")
    x_B1HW = F.conv2d(x_B1HW, kernel[None, None, :, None])
    x_B1HW = F.conv2d(x_B1HW, kernel[None, None, None, :])
    return x_B1HW[:, 0]


def gaussian_kernel(sigma: float, like: Tensor) -> Tensor:
    """A Gaussian's values at whole pixels on both sides of its mean, which sum to 1; of ``like``'s type and device."""
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    return kernel / kernel.sum()
