import numpy as np
import pytest
import skimage.metrics
import torch

from vtadl.losses import ssim as module
from vtadl.losses.ssim import SCALE_WEIGHTS, ms_ssim, ssim, ssim_maps


def pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(*shape, generator=generator, dtype=torch.float64)
    b = (a + 0.3 * torch.randn(*shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    return a, b


def slow_maps(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luminance and contrast of one plane, window by window, zeros beyond the border."""
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    p, q = (np.pad(x, 5) for x in (a, b))
    luminance, contrast = np.empty_like(a), np.empty_like(a)
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            u, v = p[y : y + 11, x : x + 11], q[y : y + 11, x : x + 11]
            mu, mv = (window * u).sum(), (window * v).sum()
            var_u, var_v = (window * u * u).sum() - mu * mu, (window * v * v).sum() - mv * mv
            covariance = (window * u * v).sum() - mu * mv
            luminance[y, x] = (2 * mu * mv + 1e-4) / (mu * mu + mv * mv + 1e-4)
            contrast[y, x] = (2 * covariance + 9e-4) / (var_u + var_v + 9e-4)
    return luminance, contrast


def test_ssim_against_a_slow_loop():
    a, b = pair(2, 3, 16, 13)
    expected = [np.prod(slow_maps(p, q), axis=0).mean() for p, q in zip(*planes(a, b), strict=True)]
    assert ssim(a, b).item() == pytest.approx(1 - np.mean(expected), abs=1e-9)


def test_small_images_are_all_border():
    a, b = pair(1, 3, 4, 7)
    expected = [np.prod(slow_maps(p, q), axis=0).mean() for p, q in zip(*planes(a, b), strict=True)]
    assert ssim(a, b).item() == pytest.approx(1 - np.mean(expected), abs=1e-9)


def test_inside_of_the_border_against_scikit_image():
    a, b = pair(1, 1, 40, 50, seed=1)
    _, expected = skimage.metrics.structural_similarity(
        a[0, 0].numpy(),
        b[0, 0].numpy(),
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    luminance, contrast = ssim_maps(a, b)
    inside = (slice(5, -5), slice(5, -5))
    np.testing.assert_allclose((luminance * contrast)[0, 0].numpy()[inside], expected[inside], atol=1e-6)


def test_single_precision_is_close():
    a, b = pair(2, 3, 64, 64, seed=2)
    assert ssim(a.float(), b.float()).item() == pytest.approx(ssim(a, b).item(), abs=1e-6)


@pytest.mark.parametrize(("side", "scales"), [(16, 1), (44, 3), (96, 4)])
def test_ms_ssim_against_a_slow_loop(side, scales):
    a, b = pair(1, 3, side, side, seed=3)
    exponents = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    values = []
    for p, q in zip(*planes(a, b), strict=True):
        product = 1.0
        for scale, exponent in enumerate(exponents):
            luminance, contrast = slow_maps(p, q)
            product *= np.mean(luminance * contrast if scale == scales - 1 else contrast) ** exponent
            if scale < scales - 1:
                p, q = (x.reshape(len(x) // 2, 2, -1, 2).mean((1, 3)) for x in (p, q))
        values.append(product)
    assert ms_ssim(a, b).item() == pytest.approx(1 - np.mean(values), abs=1e-9)


def test_ms_ssim_of_opposites_is_finite():
    a, _ = pair(1, 3, 48, 48)
    a = a.float().requires_grad_()
    loss = ms_ssim(a, 1 - a.detach())
    loss.backward()
    assert 0.5 < loss.item() <= 1 and a.grad.isfinite().all()


@pytest.mark.parametrize("loss", [ssim, ms_ssim])
class TestBoth:
    def test_nothing_is_lost_on_a_perfect_reconstruction(self, loss):
        a, _ = pair(1, 3, 32, 32)
        assert loss(a, a).item() == pytest.approx(0, abs=1e-9)

    def test_gradients_of_both_arguments_are_right(self, loss):
        a, b = pair(1, 3, 6, 5, seed=4)
        assert torch.autograd.gradcheck(loss, (a.requires_grad_(), b.requires_grad_()))

    def test_mean_over_images(self, loss):
        a, b = pair(3, 3, 24, 24, seed=5)
        each = torch.stack([loss(p[None], q[None]) for p, q in zip(a, b, strict=True)])
        torch.testing.assert_close(loss(a, b), each.mean())

    def test_constant_images_have_finite_gradients(self, loss):
        a = torch.zeros(1, 3, 32, 32, requires_grad=True)
        loss(a, torch.zeros(1, 3, 32, 32)).backward()
        assert a.grad.isfinite().all()


def planes(a: torch.Tensor, b: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return a.flatten(0, 1).numpy(), b.flatten(0, 1).numpy()


@pytest.mark.parametrize("shape", [(2, 3, 32, 17), (1, 3, 5, 8)])
def test_a_gpu_s_way_gives_the_same_windowed_means(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(module._banded(x), module._window(x), atol=1e-13, rtol=1e-13)
