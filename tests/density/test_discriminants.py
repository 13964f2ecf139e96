"""Fisher's discriminants: the oracle's directions, one per kind, on the scale of good patches."""

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from vtadl.density.discriminants import AROUND, RIDGE, Discriminants, described
from vtadl.density.gaussian import GaussianMoments, PositionGaussian

WIDTH, KINDS = 3, 2


def moments_of(*batches):
    moments = GaussianMoments()
    for rows in batches:
        moments.update(torch.as_tensor(rows)[..., None, None])
    return moments


@pytest.fixture(scope="module")
def rows():
    """Good patches and two kinds of defective ones, as described; correlated, at scales of their own."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2 * WIDTH, 2 * WIDTH)) * np.array([1, 5, 0.2, 3, 1, 10])[:, None]
    good = rng.normal(size=(500, 2 * WIDTH)) @ mixing + 7
    kinds = [rng.normal(size=(count, 2 * WIDTH)) @ mixing * 0.5 + 7 + rng.normal(size=2 * WIDTH) for count in (90, 40)]
    return [torch.tensor(x, dtype=torch.float32) for x in (good, *kinds)]


@pytest.fixture(scope="module")
def fitted(rows):
    good, *kinds = rows
    discriminants = Discriminants(WIDTH, KINDS)
    discriminants.fit(moments_of(good[:100], good[100:]), [moments_of(kind) for kind in kinds])
    return discriminants


def weights(discriminants):
    return torch.cat([discriminants.own, discriminants.around], dim=1).double()


def test_directions_are_those_of_scikit_learn(rows, fitted):
    good, *kinds = (x.double().numpy() for x in rows)
    ridge = np.diag(RIDGE * good.var(0))

    class Ridged(EmpiricalCovariance):
        def fit(self, x, y=None):
            super().fit(x)
            self.covariance_ = self.covariance_ + ridge
            return self

    for kind, direction in zip(kinds, weights(fitted), strict=True):
        oracle = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Ridged(), priors=[0.5, 0.5])
        oracle.fit(np.concatenate([good, kind]), [0] * len(good) + [1] * len(kind))
        expected = oracle.coef_[0] / np.linalg.norm(oracle.coef_[0])
        np.testing.assert_allclose(direction / direction.norm(), expected, atol=1e-4)


def test_good_patches_have_mean_0_and_deviation_1_and_their_own_kind_is_higher(rows, fitted):
    good, *kinds = rows
    values = good @ weights(fitted).float().T + fitted.offset
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(values.std(0, correction=0), 1, atol=1e-3)
    for number, kind in enumerate(kinds):
        assert (kind @ weights(fitted)[number].float() + fitted.offset[number]).mean() > 0.1


@pytest.mark.parametrize("grid", [(7, 9), (2, 3), (1, 1)])
def test_a_patch_gets_its_highest_discriminant_of_itself_and_its_area(fitted, grid):
    x = torch.randn(2, WIDTH, *grid, generator=torch.Generator().manual_seed(1))
    found = fitted(x)
    assert found.shape == (2, *grid)
    near = AROUND // 2
    for image, rows_of in zip(x, found, strict=True):
        for row in range(grid[0]):
            for column in range(grid[1]):
                area = image[:, max(row - near, 0) : row + near + 1, max(column - near, 0) : column + near + 1]
                seen = torch.cat([image[:, row, column], area.mean((1, 2)) - image.mean((1, 2))])
                expected = (weights(fitted).float() @ seen + fitted.offset).max()
                torch.testing.assert_close(rows_of[row, column], expected, atol=1e-4, rtol=1e-4)
                torch.testing.assert_close(described(image[None])[0, :, row, column], seen, atol=1e-5, rtol=1e-5)


def test_a_direction_is_found_where_a_distance_sees_nothing():
    """Two deviations in one of 64 dimensions."""
    rng = np.random.default_rng(2)
    good, defective = (rng.normal(size=(400, 64, 1, 1)).astype(np.float32) for _ in range(2))
    defective[:, 5] += 2
    learned, unseen, taught, shown = (torch.from_numpy(part) for x in (good, defective) for part in np.split(x, 2))
    gaussian, moments = PositionGaussian(64, (1, 1)), GaussianMoments()
    moments.update(learned)
    gaussian.fit(moments)
    discriminants = Discriminants(64, 1)
    discriminants.fit(moments_of(described(learned)[..., 0, 0]), [moments_of(described(taught)[..., 0, 0])])
    is_defective = [0] * len(unseen) + [1] * len(shown)
    distance, direction = (
        roc_auc_score(is_defective, torch.cat([model(unseen), model(shown)]).flatten())
        for model in (gaussian, discriminants)
    )
    assert distance < 0.7 < 0.85 < direction


def test_before_it_is_taught_it_says_nothing():
    discriminants = Discriminants(WIDTH, KINDS)
    assert not discriminants.fitted
    assert not discriminants(torch.randn(1, WIDTH, 4, 4)).any()


def test_a_kind_of_which_there_are_none_is_never_found(rows):
    good, kind, _ = rows
    both, alone = Discriminants(WIDTH, KINDS), Discriminants(WIDTH, 1)
    both.fit(moments_of(good), [GaussianMoments(), moments_of(kind)])
    alone.fit(moments_of(good), [moments_of(kind)])
    assert both.fitted
    x = torch.randn(1, WIDTH, 4, 4) + 7
    torch.testing.assert_close(both(x), alone(x).clamp_min(0))


def test_constant_channels_do_no_harm(rows):
    good, kind, _ = (x.clone() for x in rows)
    for x in (good, kind):
        x[:, 0] = 3
    discriminants = Discriminants(WIDTH, 1)
    discriminants.fit(moments_of(good), [moments_of(kind)])
    assert weights(discriminants).isfinite().all()
    assert (kind @ weights(discriminants).float().T + discriminants.offset).mean() > 0.1
