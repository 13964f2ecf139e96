"""Structural similarity as a loss: 1 - SSIM, a mean over pixels, channels and images.

Source: Z. Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 2004;
over scales, Z. Wang et al., Multiscale structural similarity, Asilomar 2003.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11
SIGMA = 1.5
_HALF = [math.exp(-0.5 * (offset / SIGMA) ** 2) for offset in range(WINDOW // 2 + 1)]
_WEIGHTS = [weight / (2 * sum(_HALF) - _HALF[0]) for weight in _HALF]
"""The window from its centre outwards."""
C1 = 0.01**2
"""Stabilises the comparison of means, for images in [0, 1]."""
C2 = 0.03**2
"""Stabilises the comparison of contrasts."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first, as measured with human observers (Wang et al. 2003)."""


def ssim(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """1 - SSIM; in [0, 2], a scalar. Windows at the border see zeros beyond it, as in VT-ADL's published code."""
    similarity: Tensor = _MeanSsim.apply(reconstruction_B3HW, target_B3HW)  # type: ignore[no-untyped-call]
    return 1 - similarity


def ms_ssim(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """1 - multi-scale SSIM; in [0, 1], a scalar.

    Scales whose shorter side is below the window's 11 pixels are left out, and the exponents of the others are scaled
    to sum to one; five scales need sides of 176 pixels. Contrasts below zero count as zero (their fractional power does
    not exist).
    """
    scales = list(similarities(reconstruction_B3HW, target_B3HW))
    weights = SCALE_WEIGHTS[: len(scales)]
    product_B3 = torch.ones_like(target_B3HW[:, :, 0, 0])
    for index, (weight, (luminance, contrast)) in enumerate(zip(weights, scales, strict=True)):
        last = index == len(scales) - 1
        similarity_B3 = (luminance * contrast if last else contrast).mean((-2, -1))
        product_B3 = product_B3 * similarity_B3.clamp_min(1e-6) ** (weight / sum(weights))
    return 1 - product_B3.mean()


def similarities(reconstruction_B3HW: Tensor, target_B3HW: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """What `ssim_maps` gives at each scale of `ms_ssim`, finest first, each of half the side of the one before."""
    count = len(SCALE_WEIGHTS)
    while count > 1 and min(target_B3HW.shape[-2:]) >> (count - 1) < WINDOW:
        count -= 1
    a_B3HW, b_B3HW = reconstruction_B3HW, target_B3HW
    for index in range(count):
        if index:
            a_B3HW, b_B3HW = F.avg_pool2d(a_B3HW, 2), F.avg_pool2d(b_B3HW, 2)
        yield ssim_maps(a_B3HW, b_B3HW)


def ssim_maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure of ``(..., H, W)`` at each pixel, of the same shape; their product is SSIM."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    covariance = _windowed(a * b) - mean_a * mean_b
    variances = _windowed(a.square() + b.square()) - mean_a.square() - mean_b.square()
    luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)


def _windowed(x: Tensor) -> Tensor:
    windowed: Tensor = _Window.apply(x)  # type: ignore[no-untyped-call]
    return windowed


class _MeanSsim(torch.autograd.Function):
    """Mean SSIM of images, with its gradient written out: it is made together with the value, from the same maps.

    On a CPU one image at a time stays in the cache; autograd would keep a dozen maps of all images.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        at_once = 1 if a.device.type == "cpu" else len(a)
        needed = ctx.needs_input_grad
        gradients = [torch.empty_like(x) if need else None for x, need in zip((a, b), needed, strict=True)]
        total = a.new_zeros(())
        for start in range(0, len(a), at_once):
            part = slice(start, start + at_once)
            sum_, *slopes = _summed_ssim(a[part], b[part], needed)
            total += sum_
            for gradient, slope in zip(gradients, slopes, strict=True):
                if gradient is not None and slope is not None:
                    torch.div(slope, a.numel(), out=gradient[part])
        ctx.save_for_backward(*gradients)
        return total / a.numel()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(None if gradient is None else gradient * outer[0] for gradient in ctx.saved_tensors)


def _summed_ssim(a: Tensor, b: Tensor, needed: tuple[bool, bool]) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Sum of SSIM over all pixels, and its gradients with respect to ``a`` and ``b`` where they are needed."""
    means = _window(torch.stack([a, b, a.square().addcmul_(b, b), a * b]))
    mean_a, mean_b, mean_squares, mean_product = means
    means_product, means_squares = mean_a * mean_b, mean_a.square().addcmul_(mean_b, mean_b)
    luminance = (2 * means_product).add_(C1)  # numerators and denominators of the two factors
    contrast = mean_product.sub_(means_product).mul_(2).add_(C2)
    inverse_luminance = (means_squares + C1).reciprocal_()
    inverse_contrast = mean_squares.sub_(means_squares).add_(C2).reciprocal_()
    both = inverse_luminance * inverse_contrast
    similarity = (luminance * contrast).mul_(both)
    total = similarity.sum()
    if not any(needed):
        return total, None, None
    # SSIM is a function of the four windowed means; each mean's slope goes back through the same window.
    across = contrast.sub_(luminance).mul_(both).mul_(2)
    along = (inverse_contrast - inverse_luminance).mul_(similarity).mul_(2)
    from_product = luminance.mul_(both).mul_(2)
    from_squares = similarity.mul_(inverse_contrast).neg_()
    wanted = [
        torch.addcmul(across * other, along, own)
        for own, other, need in ((mean_a, mean_b, needed[0]), (mean_b, mean_a, needed[1]))
        if need
    ]
    from_product, from_squares, *own = _window(torch.stack([from_product, from_squares, *wanted]))
    from_squares.mul_(2)
    slopes = iter(own)
    gradient_a = next(slopes).addcmul_(from_product, b).addcmul_(from_squares, a) if needed[0] else None
    gradient_b = next(slopes).addcmul_(from_product, a).addcmul_(from_squares, b) if needed[1] else None
    return total, gradient_a, gradient_b


def _window(x: Tensor) -> Tensor:
    """Gaussian-weighted mean around each pixel of ``(..., H, W)``, zeros beyond the border.

    On a processor, sums of shifted images take a tenth of the time of a convolution with one channel. On a GPU each of
    those sums would pass through all of memory, so it multiplies by banded matrices.
    """
    if x.device.type == "cuda":
        return _banded(x)
    return _shifted_sum(_shifted_sum(x, -1), -2)


def _banded(x: Tensor) -> Tensor:
    """`_window` as a product with a matrix of weights from each side."""
    height, width = x.shape[-2:]
    return _band(height, x.device, x.dtype) @ x @ _band(width, x.device, x.dtype)


@functools.lru_cache(maxsize=16)
def _band(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each pixel of a line gives each other one, ``(side, side)``; kept, for a graph cannot hold its making."""
    place = torch.arange(side, device="cpu")
    distance = (place[:, None] - place).abs().clamp_max(len(_WEIGHTS))
    return torch.tensor([*_WEIGHTS, 0.0], dtype=dtype, device="cpu")[distance].to(device)


class _Window(torch.autograd.Function):
    """`_window` with its gradient: the window is symmetric, so the gradient passes through the same window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _window(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _window(gradients[0])


def _shifted_sum(x: Tensor, dim: int) -> Tensor:
    """The window's weighted sum along one dimension."""
    centre, *weights = _WEIGHTS
    total = centre * x
    side = x.shape[dim]
    for shift, weight in enumerate(weights[: side - 1], start=1):
        total.narrow(dim, shift, side - shift).add_(x.narrow(dim, 0, side - shift), alpha=weight)
        total.narrow(dim, 0, side - shift).add_(x.narrow(dim, shift, side - shift), alpha=weight)
    return total
