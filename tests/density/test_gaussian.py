"""The Gaussian per position against NumPy and SciPy, its precision, and what few images do to it."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from vtadl.density import gaussian
from vtadl.density.gaussian import GaussianMoments, PositionGaussian
from vtadl.errors import DataError

pytestmark = pytest.mark.native


def moments_of(x, batch=7):
    moments = GaussianMoments()
    for part in x.split(batch):
        moments.update(part)
    return moments


def fitted(x, **kwargs):
    density = PositionGaussian(x.shape[1], tuple(x.shape[-2:]))
    density.fit_moments(moments_of(x, **kwargs))
    return density


@pytest.fixture(scope="module")
def embeddings():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator)
    x = torch.randn(40, 4, 5, 6, generator=generator) @ mixing + 3
    return x.permute(0, 3, 1, 2).contiguous()  # (40, 6, 4, 5)


def test_moments_equal_numpy_for_any_batching(embeddings):
    for batch in (1, 7, 40):
        moments = moments_of(embeddings, batch)
        x = embeddings.flatten(2).numpy().astype(np.float64)
        for position in (0, 11, 19):
            np.testing.assert_allclose(moments.mean_PD[position], x[:, :, position].mean(0), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(
                moments.scatter_PDD[position] / 39, np.cov(x[:, :, position], rowvar=False), rtol=1e-4, atol=1e-4
            )


def test_large_means_cost_no_precision(embeddings):
    shifted = moments_of(embeddings + 3000)
    plain = moments_of(embeddings)
    # 3,000 in float32 leaves steps of 2.4e-4 in the input itself.
    torch.testing.assert_close(shifted.scatter_PDD, plain.scatter_PDD, rtol=1e-2, atol=0.1)


def test_distance_equals_scipy_with_the_same_covariance(embeddings):
    density = fitted(embeddings)
    x = embeddings.flatten(2).numpy().astype(np.float64)
    probe = x[3] + np.random.default_rng(0).normal(size=x[3].shape)
    ours = density(torch.tensor(probe, dtype=torch.float32).view(1, 6, 4, 5))[0].flatten()
    scale = embeddings.permute(1, 0, 2, 3).flatten(1).std(1, correction=0).numpy().astype(np.float64)
    covariances = [np.cov(x[:, :, p] / scale, rowvar=False) for p in range(20)]
    shared = np.mean(covariances, axis=0)
    weight = gaussian.PRIOR_IMAGES / (gaussian.PRIOR_IMAGES + 40)
    ridge = gaussian.RIDGE * np.diag(shared).mean() * np.eye(6)
    for position in range(20):
        covariance = (1 - weight) * covariances[position] + weight * shared + ridge
        mean = x[:, :, position].mean(0) / scale
        expected = mahalanobis(probe[:, position] / scale, mean, np.linalg.inv(covariance)) / np.sqrt(6)
        assert float(ours[position]) == pytest.approx(expected, rel=2e-3)


def test_good_patches_score_about_one():
    x = torch.randn(300, 8, 3, 3, generator=torch.Generator().manual_seed(1)) * 5
    assert fitted(x)(x).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_fewer_images_than_dimensions_still_tell_a_defect(count):
    x = torch.randn(count, 32, 4, 4, generator=torch.Generator().manual_seed(2))
    density = fitted(x)
    defect = x[:1].clone()
    defect[0, :, 1, 2] += 20
    scores = density(defect)[0]
    assert torch.isfinite(scores).all()
    assert scores.argmax() == 1 * 4 + 2


def test_constant_channels_do_not_break_it(embeddings):
    x = embeddings.clone()
    x[:, 2] = 0.0
    x[:, 3] = 7.0
    density = fitted(x)
    assert torch.isfinite(density(x)).all()
    assert torch.isfinite(density(x + 1)).all()


def test_no_image_is_an_error():
    with pytest.raises(DataError, match="at least one good image"):
        PositionGaussian(4, (2, 2)).fit([])


def test_state_is_compact_and_loads(embeddings):
    density = fitted(embeddings)
    assert density.whitening.dtype == torch.float16
    assert density.whitening.shape == (20, 6 * 7 // 2)
    other = PositionGaussian(6, (4, 5))
    other.load_state_dict(density.state_dict())
    assert torch.equal(other(embeddings), density(embeddings))


@pytest.mark.parametrize(
    ("grid", "side"), [((48, 48), 1), ((48, 49), 2), ((128, 192), 4), ((1, 5000), 3), ((256, 256), 6)]
)
def test_no_more_gaussians_than_memory_holds(grid, side):
    assert gaussian.shared_blocks(grid)[0] == side
    assert len(PositionGaussian(1, grid).mean) <= gaussian.MOST_POSITIONS


@pytest.mark.parametrize("grid", [(4, 6), (5, 7), (3, 4)])
def test_of_a_large_grid_squares_of_positions_share_a_gaussian(monkeypatch, grid):
    """As if each position of a square were another image of the same place."""
    monkeypatch.setattr(gaussian, "MOST_POSITIONS", -(-grid[0] // 2) * -(-grid[1] // 2))
    x = torch.randn(60, 5, *grid, generator=torch.Generator().manual_seed(3)) * 2 + torch.rand(1, 5, 1, 1)
    density = PositionGaussian(5, grid)
    assert density.side == 2
    moments = density.moments()
    for batch in x.split(7):
        moments.update(batch)
    density.fit_moments(moments)
    probe = torch.randn(2, 5, *grid, generator=torch.Generator().manual_seed(4))
    scores = density(probe)
    assert scores.shape == (2, *grid)
    for row in range(0, grid[0] // 2 * 2, 2):
        for column in range(0, grid[1] // 2 * 2, 2):
            place = np.s_[:, :, row : row + 2, column : column + 2]
            rows = x[place].permute(0, 2, 3, 1).flatten(0, 2)
            position = row // 2 * -(-grid[1] // 2) + column // 2
            torch.testing.assert_close(density.mean[position], rows.mean(0), atol=1e-4, rtol=1e-4)
            patches = probe[place].permute(0, 2, 3, 1).flatten(0, 2)
            alone = PositionGaussian(5, (1, 1))
            alone.scale, alone.mean = density.scale, density.mean[position : position + 1]
            alone.whitening = density.whitening[position : position + 1]
            expected = alone(patches[..., None, None]).view(2, 2, 2)
            torch.testing.assert_close(scores[:, row : row + 2, column : column + 2], expected, atol=1e-4, rtol=1e-4)
    assert scores.isfinite().all()
