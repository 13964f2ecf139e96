import numpy as np
import pytest
import scipy.ndimage
import torch

from vtadl.losses.reconstruction import GMS_STABILITY, cosine, gms, l1, mse, squared_residual


def pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, b


def test_mean_errors():
    a, b = pair(2, 3, 8, 8)
    assert mse(a, b).item() == pytest.approx(np.mean((a.numpy() - b.numpy()) ** 2), abs=1e-12)
    assert l1(a, b).item() == pytest.approx(np.mean(np.abs(a.numpy() - b.numpy())), abs=1e-12)
    np.testing.assert_allclose(squared_residual(a, b), ((a - b) ** 2).numpy().mean(1))


def test_cosine_compares_whole_patches():
    a, b = pair(2, 3, 8, 12)
    values = []
    for image in range(2):
        for y in range(0, 8, 4):
            for x in range(0, 12, 4):
                p, q = (z[image, :, y : y + 4, x : x + 4].numpy().ravel() for z in (a, b))
                values.append(1 - p @ q / (np.linalg.norm(p) * np.linalg.norm(q)))
    assert cosine(a, b, 4).item() == pytest.approx(np.mean(values), abs=1e-9)
    assert cosine(0.3 * a, a, 4).item() == pytest.approx(0, abs=1e-9)


def slow_gms(a: np.ndarray, b: np.ndarray) -> float:
    """Gradient magnitude similarity of two grey images, with SciPy's Prewitt filter."""
    size = min(a.shape)
    scales = []
    for _ in range(4):
        magnitudes = [
            np.hypot(*(scipy.ndimage.prewitt(image, axis, mode="nearest") / 3 for axis in (0, 1))) for image in (a, b)
        ]
        product, squares = magnitudes[0] * magnitudes[1], magnitudes[0] ** 2 + magnitudes[1] ** 2
        scales.append(np.mean((2 * product + GMS_STABILITY) / (squares + GMS_STABILITY)))
        if size < 6:
            break
        a, b = (image.reshape(len(image) // 2, 2, -1, 2).mean((1, 3)) for image in (a, b))
        size //= 2
    return 1 - float(np.mean(scales))


@pytest.mark.parametrize("side", [4, 8, 32])
def test_gms_against_scipy(side):
    a, b = pair(2, 3, side, side, seed=1)
    expected = np.mean([slow_gms(p.mean(0), q.mean(0)) for p, q in zip(a.numpy(), b.numpy(), strict=True)])
    assert gms(a, b).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [mse, l1, gms, lambda a, b: cosine(a, b, 4)])
class TestEveryLoss:
    def test_nothing_is_lost_on_a_perfect_reconstruction(self, loss):
        a, _ = pair(1, 3, 16, 16)
        assert loss(a, a).item() == pytest.approx(0, abs=1e-6)

    def test_gradients_are_right(self, loss):
        a, b = pair(1, 3, 8, 8, seed=2)
        assert torch.autograd.gradcheck(loss, (a.requires_grad_(), b))

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_gradients_stay_finite_on_constant_images(self, loss, value):
        a = torch.full((1, 3, 16, 16), value, requires_grad=True)
        loss(a, torch.zeros(1, 3, 16, 16)).backward()
        assert a.grad.isfinite().all()

    def test_mean_over_images(self, loss):
        a, b = pair(3, 3, 16, 16, seed=3)
        each = torch.stack([loss(p[None], q[None]) for p, q in zip(a, b, strict=True)])
        torch.testing.assert_close(loss(a, b), each.mean())
