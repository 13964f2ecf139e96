"""Losses between a reconstruction and its target, in pixels; each is a mean over pixels and images and is minimised."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from vtadl.nn.patches import patchify

GMS_SCALES = 4
"""Scales of the gradient magnitude similarity: full, half, quarter and eighth of the side."""
GMS_STABILITY = 0.0026
"""Stabiliser of the similarity for images in [0, 1] (Xue et al. use 170 for 8-bit images: 170 / 255^2)."""
EPSILON = 1e-12
"""Added under square roots, whose slope at zero is infinite."""


def mse(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """Mean squared error; a scalar."""
    return F.mse_loss(reconstruction_B3HW, target_B3HW)


def l1(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """Mean absolute error; a scalar."""
    return F.l1_loss(reconstruction_B3HW, target_B3HW)


def cosine(reconstruction_B3HW: Tensor, target_B3HW: Tensor, patch_size: int) -> Tensor:
    """1 - cosine similarity of each patch with its reconstruction, both flattened; in [0, 2], a scalar.

    The direction of a patch's pixel vector is compared and its length is not: a change of brightness by a factor
    costs nothing, so the term is of use beside one that fixes brightness.

    Args:
        reconstruction_B3HW: ``(B, 3, H, W)``.
        target_B3HW: the same shape.
        patch_size: side of a patch in pixels; it divides H and W.
    """
    a_BND = patchify(reconstruction_B3HW, patch_size)
    b_BND = patchify(target_B3HW, patch_size)
    norms_BN = ((a_BND.square().sum(-1) + EPSILON) * (b_BND.square().sum(-1) + EPSILON)).sqrt()
    return 1 - ((a_BND * b_BND).sum(-1) / norms_BN).mean()


def gms(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """1 - gradient magnitude similarity, averaged over pixels, then over scales; in [0, 1], a scalar.

    Gradients are Prewitt's, of the mean of the channels, with replicated borders; scales follow from averaging 2 x 2
    pixels, and stop where a side would fall below 3 pixels.

    Source: W. Xue et al., Gradient Magnitude Similarity Deviation, IEEE TIP 2014; over scales as in V. Zavrtanik et
    al., Reconstruction by inpainting (RIAD), Pattern Recognition 2021.
    """
    means = [similarity_B1HW.mean() for similarity_B1HW in gradient_similarities(reconstruction_B3HW, target_B3HW)]
    return 1 - torch.stack(means).mean()


def gradient_similarities(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Iterator[Tensor]:
    """The gradient magnitude similarity of each pixel at each scale of `gms`, finest first: ``(B, 1, H, W)``."""
    a_B1HW = reconstruction_B3HW.mean(1, keepdim=True)
    b_B1HW = target_B3HW.mean(1, keepdim=True)
    yield _gradient_similarity(a_B1HW, b_B1HW)
    for _ in range(GMS_SCALES - 1):
        if min(a_B1HW.shape[-2:]) < 6:
            return
        a_B1HW, b_B1HW = F.avg_pool2d(a_B1HW, 2), F.avg_pool2d(b_B1HW, 2)
        yield _gradient_similarity(a_B1HW, b_B1HW)


def squared_residual(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """Squared error of each pixel, averaged over its channels: the anomaly map ``(B, H, W)`` of a reconstruction."""
    return (reconstruction_B3HW - target_B3HW).square().mean(1)


def _gradient_similarity(a_B1HW: Tensor, b_B1HW: Tensor) -> Tensor:
    a_squared, b_squared = _squared_gradient(a_B1HW), _squared_gradient(b_B1HW)
    product = ((a_squared + EPSILON) * (b_squared + EPSILON)).sqrt()
    return (2 * product + GMS_STABILITY) / (a_squared + b_squared + GMS_STABILITY)


def _squared_gradient(x_B1HW: Tensor) -> Tensor:
    """Squared magnitude of the Prewitt gradient: the mean of three central sums, divided by 3 as Xue et al. do."""
    x = F.pad(x_B1HW, (1, 1, 1, 1), mode="replicate")
    columns = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    rows = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    horizontal = (columns[..., 2:] - columns[..., :-2]) / 3
    vertical = (rows[..., 2:, :] - rows[..., :-2, :]) / 3
    return horizontal.square() + vertical.square()
