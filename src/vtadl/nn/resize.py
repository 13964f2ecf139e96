"""Resizing images and anomaly maps as two matrix products, which every runtime has and gives the same result for."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.nn.smoothing import gaussian_kernel


class Resize(nn.Module):
    """Bilinear with antialiasing, as `torch.nn.functional.interpolate` does it, and then Gaussian smoothing.

    Both are linear in rows, then in columns: for a smooth map that takes a fraction of the time of convolutions.

    Args:
        size: height and width of what comes.
        new_size: of the result.
        smoothing: standard deviation of the Gaussian in pixels of the result; 0 leaves it out.
    """

    def __init__(self, size: tuple[int, int], new_size: tuple[int, int], smoothing: float = 0.0) -> None:
        super().__init__()
        self.new_size, self.smoothing = new_size, smoothing
        self.rows: Tensor
        self.columns: Tensor
        for name, side, new_side in zip(("rows", "columns"), size, new_size, strict=True):
            self.register_buffer(name, _weights(side, new_side, smoothing), persistent=False)

    def forward(self, images_bHW: Tensor) -> Tensor:
        """Resize.

        Args:
            images_bHW: ``(..., *size)``.

        Returns:
            ``(..., *new_size)``.
        """
        if self.smoothing == 0 and not torch.compiler.is_exporting():
            # The same in a fifth of the time, which exported graphs do not have.
            resized_1bHW = _interpolated(images_bHW.flatten(0, -3)[None], self.new_size)
            return resized_1bHW.view(*images_bHW.shape[:-2], *self.new_size)
        resized_bHW: Tensor = self.rows @ images_bHW @ self.columns.T
        return resized_bHW


def _interpolated(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x_BCHW, size, mode="bilinear", antialias=True, align_corners=False)


def _weights(side: int, new_side: int, smoothing: float) -> Tensor:
    """What each old row gives each new one, ``(new_side, side)``."""
    identity_11SS = torch.eye(side, device="cpu")[None, None]
    weights_NS = _interpolated(identity_11SS, (new_side, side))[0, 0]
    if smoothing:
        kernel = gaussian_kernel(smoothing, weights_NS)
        radius = len(kernel) // 2
        padded_S1N = F.pad(weights_NS.T[:, None], (radius, radius), mode="replicate")
        weights_NS = F.conv1d(padded_S1N, kernel[None, None])[:, 0].T.contiguous()
    return weights_NS
