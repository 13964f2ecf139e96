"""Residual maps over scales: their means are the losses', and each pixel against a loop over its scales."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from vtadl.losses.reconstruction import GMS_STABILITY, gms
from vtadl.losses.residual import RESIDUALS, gms_residual, ms_ssim_residual
from vtadl.losses.ssim import SCALE_WEIGHTS, ssim_maps


def pair(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 3, side, side, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, b


def enlarged(small: np.ndarray, side: int) -> np.ndarray:
    """Bilinear between pixel centres, the border replicated, a pixel at a time."""
    scale, large = len(small) / side, np.empty((side, side))
    for y in range(side):
        for x in range(side):
            at = [min(max((p + 0.5) * scale - 0.5, 0), len(small) - 1) for p in (y, x)]
            (low_y, low_x), (part_y, part_x) = zip(*((int(p), p - int(p)) for p in at), strict=True)
            high_y, high_x = min(low_y + 1, len(small) - 1), min(low_x + 1, len(small) - 1)
            top = (1 - part_x) * small[low_y, low_x] + part_x * small[low_y, high_x]
            bottom = (1 - part_x) * small[high_y, low_x] + part_x * small[high_y, high_x]
            large[y, x] = (1 - part_y) * top + part_y * bottom
    return large


def halved(image: np.ndarray) -> np.ndarray:
    return image.reshape(len(image) // 2, 2, -1, 2).mean((1, 3))


def test_gms_of_each_pixel_against_scipy():
    a, b = pair(32)
    first, second = (x[0].mean(0).numpy() for x in (a, b))
    maps = []
    for _ in range(4):
        of_a, of_b = (
            np.hypot(*(scipy.ndimage.prewitt(image, axis, mode="nearest") / 3 for axis in (0, 1)))
            for image in (first, second)
        )
        similarity = (2 * of_a * of_b + GMS_STABILITY) / (of_a**2 + of_b**2 + GMS_STABILITY)
        maps.append(enlarged(1 - similarity, 32))
        first, second = (halved(image) for image in (first, second))
    np.testing.assert_allclose(gms_residual(a, b)[0].numpy(), np.mean(maps, axis=0), atol=1e-6)


def test_ms_ssim_of_each_pixel_against_its_scales():
    a, b = pair(48)
    first, second, maps = a, b, []
    for _ in range(3):  # sides of 48, 24 and 12 pixels hold the window of 11, 6 do not
        luminance, contrast = ssim_maps(first, second)
        maps.append(enlarged((1 - luminance * contrast).mean(1)[0].numpy(), 48))
        first, second = (
            torch.from_numpy(np.stack([[halved(c) for c in image] for image in x.numpy()])) for x in (first, second)
        )
    weights = np.array(SCALE_WEIGHTS[:3])
    expected = np.tensordot(weights / weights.sum(), np.stack(maps), axes=1)
    np.testing.assert_allclose(ms_ssim_residual(a, b)[0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("name", RESIDUALS)
def test_a_perfect_reconstruction_leaves_none_and_a_spot_shows_where_it_is(name):
    a = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert RESIDUALS[name](a, a).abs().max() < 1e-5
    b = a.clone()
    b[..., 40:52, 8:20] = 1 - b[..., 40:52, 8:20]
    found = RESIDUALS[name](a, b)[0]
    assert found.shape == (64, 64)
    assert found[40:52, 8:20].mean() > 5 * found[:24, 36:].mean() and found[:16, 48:].abs().max() < 1e-5


def test_without_coarser_scales_the_mean_of_the_map_is_the_loss():
    a, b = pair(4)
    assert gms_residual(a, b).mean().item() == pytest.approx(gms(a, b).item())
