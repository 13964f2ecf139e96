"""Residual maps: how far each pixel of an image is from its reconstruction, finely or over several scales."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vtadl.losses.reconstruction import gradient_similarities, squared_residual
from vtadl.losses.ssim import SCALE_WEIGHTS, similarities


def gms_residual(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """1 - gradient magnitude similarity of each pixel, ``(B, H, W)`` in [0, 1]: the mean of the loss's scales, those
    that are coarser interpolated bilinearly.
    """
    maps = [1 - map_B1HW for map_B1HW in gradient_similarities(reconstruction_B3HW, target_B3HW)]
    return _merged(maps, [1.0] * len(maps), target_B3HW)


def ms_ssim_residual(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """1 - SSIM of each pixel, averaged over channels, ``(B, H, W)`` in [0, 2]: the mean over the scales of ``ms_ssim``
    by its weights, those that are coarser interpolated bilinearly.
    """
    maps = [
        1 - (luminance * contrast).mean(1, keepdim=True)
        for luminance, contrast in similarities(reconstruction_B3HW, target_B3HW)
    ]
    return _merged(maps, SCALE_WEIGHTS[: len(maps)], target_B3HW)


RESIDUALS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": squared_residual,
    "gms": gms_residual,
    "ms_ssim": ms_ssim_residual,
}
"""By the name that ``model.residual`` gives."""


def _merged(maps: Sequence[Tensor], weights: Sequence[float], target_B3HW: Tensor) -> Tensor:
    size = target_B3HW.shape[-2:]
    enlarged = [
        weight * F.interpolate(map_B1HW, size, mode="bilinear", align_corners=False)
        for map_B1HW, weight in zip(maps, weights, strict=True)
    ]
    return torch.cat(enlarged, dim=1).sum(1) / sum(weights)
