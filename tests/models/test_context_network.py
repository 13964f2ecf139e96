"""The trained part of preset ``context``: what it cannot see, what each objective trains, and what it scores by."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from vtadl.config.schema import ContextConfig
from vtadl.density.gaussian import GaussianMoments
from vtadl.errors import ConfigError
from vtadl.losses.objective import parse_objective
from vtadl.models.context_network import RIDGE, ContextNetwork

SIDE, WIDTH = 5, 6
CONFIG = ContextConfig(mask_radius=1, width=16, heads=2, depth=3, mixtures=2, latent_width=3)
KEYS = {"seed": 3, "step": 7}


def network(objective="nll", *, patches=SIDE, **changes):
    torch.manual_seed(0)
    return ContextNetwork(dataclasses.replace(CONFIG, **changes), parse_objective(objective), WIDTH, (patches, patches))


def as_if_trained(model):
    """Random weights everywhere: a new network's blocks and heads begin at nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return model.eval()


def embeddings(count=4, side=SIDE, seed=2):
    generator = torch.Generator().manual_seed(seed)
    mixing = 2 * torch.eye(WIDTH) + 0.5 * torch.randn(WIDTH, WIDTH, generator=generator)
    x = torch.randn(count, side, side, WIDTH, generator=generator) @ mixing
    return (x + 3 * torch.randn(1, side, side, WIDTH, generator=generator)).permute(0, 3, 1, 2).contiguous()


def fit(model, x):
    moments = GaussianMoments()
    moments.update(x)
    covariance = moments.scatter_PDD.mean(0) / (moments.count - 1)
    model.fit(moments.mean_PD, covariance)
    return covariance


# What it sees


@pytest.mark.parametrize("objective", ["nll", "mse"])
@pytest.mark.parametrize("patch", [(2, 2), (0, 0), (1, 4)])
def test_what_is_expected_of_a_patch_does_not_depend_on_its_neighbourhood(objective, patch):
    model = as_if_trained(network(objective))
    x = embeddings(1)
    row, column = patch

    def expected(x):
        with torch.inference_mode():
            return model._expected(model._context(model._whitened(x), None)).view(SIDE, SIDE, WIDTH)[row, column]

    for other_row in range(SIDE):
        for other_column in range(SIDE):
            changed = x.clone()
            changed[0, :, other_row, other_column] += 1.0
            near = max(abs(row - other_row), abs(column - other_column)) <= 1
            assert torch.equal(expected(x), expected(changed)) == near, (other_row, other_column)


def test_dropping_context_reveals_no_neighbourhood():
    model = as_if_trained(network("mse")).train()
    x = embeddings(1).requires_grad_()
    z = model._whitened(x)
    kept = torch.arange(SIDE**2)[None] % 2 == 0
    context = model._context(z, kept)
    for patch in range(SIDE**2):
        (gradient,) = torch.autograd.grad(context[0, patch].sin().sum(), z, retain_graph=True)
        assert torch.equal((gradient[0] != 0).any(-1), model.visible[patch] & kept[0])


def test_a_new_network_expects_next_to_nothing_but_the_mean():
    model, x = network("nll"), embeddings()
    fit(model, x)
    with torch.inference_mode():
        expected = model._expected(model._context(model._whitened(x), None))
    assert expected.abs().max() < 0.5


# What it trains

TRAINED = {
    "nll": ("mixture", ("nll",)),
    "mse": ("reconstruction", ("mse",)),
    "l1": ("reconstruction", ("l1",)),
    "cosine": ("reconstruction", ("cosine",)),
    "vae": ("variational", ("vae",)),
    "kl + nll": ("mixture variational", ("kl", "nll")),
    "2*mse + 0.5*vae + kl": ("reconstruction variational", ("mse", "vae", "kl")),
}


@pytest.mark.parametrize("objective", TRAINED)
def test_every_term_is_a_scalar_that_trains_its_parts_alone(objective):
    heads, names = TRAINED[objective]
    model = as_if_trained(network(objective)).train()
    terms, variance = model.terms(embeddings(), **KEYS, samples=[0, 1, 2, 3])
    assert tuple(terms) == names
    assert variance.ndim == 0 and variance > 0 and not variance.requires_grad
    shared = ("embedding", "blocks", "key_norm", "norm", "key_position", "query_position")
    for value in terms.values():
        assert value.ndim == 0 and value.isfinite()
    sum(terms.values()).backward()
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        assert part in (*shared, *heads.split()), name
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_values_of_reconstruction_against_plain_formulas():
    model = as_if_trained(network("mse + l1 + cosine", dropout=0.0))
    x = embeddings()
    terms, _ = model.terms(x, **KEYS, samples=range(4))
    z = model._whitened(x).detach().double().numpy()
    expected = model._expected(model._context(model._whitened(x), None)).detach().double().numpy()
    similarity = (z * expected).sum(-1) / np.linalg.norm(z, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert terms["mse"].item() == pytest.approx(((z - expected) ** 2).mean(), rel=1e-4)
    assert terms["l1"].item() == pytest.approx(np.abs(z - expected).mean(), rel=1e-4)
    assert terms["cosine"].item() == pytest.approx((1 - similarity).mean(), rel=1e-4)


@pytest.mark.parametrize("objective", ["nll", "mse", "vae", "kl + nll"])
def test_two_halves_are_the_whole_batch(objective):
    """Dropout and noise are keyed by sample, so it does not matter who shares a batch."""
    model, x, samples = as_if_trained(network(objective)).train(), embeddings(6), [9, 4, 7, 0, 2, 5]
    whole, _ = model.terms(x, **KEYS, samples=samples)
    halves = [model.terms(x[half], **KEYS, samples=samples[half])[0] for half in (slice(0, 3), slice(3, 6))]
    for name, value in whole.items():
        assert (halves[0][name] + halves[1][name]).item() / 2 == pytest.approx(value.item(), rel=1e-5)
    other, _ = model.terms(x, **{**KEYS, "step": 8}, samples=samples)
    assert any(other[name] != value for name, value in whole.items())


def test_without_dropout_and_noise_steps_are_the_same():
    model, x = as_if_trained(network("nll", dropout=0.0)), embeddings()
    first, second = (model.terms(x, seed=seed, step=seed, samples=range(4))[0]["nll"] for seed in (0, 1))
    assert torch.equal(first, second)


# What it refuses


@pytest.mark.parametrize("term", ["ssim", "ms_ssim", "gms", "nll_reference", "vae_image"])
def test_other_terms_are_refused(term):
    with pytest.raises(
        ConfigError, match=rf"'{term}' is no loss of preset 'context'.*choose from: mse, l1, cosine, nll, vae, kl"
    ):
        network(f"nll + {term}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, r"model.width is 16; expected a multiple of model.heads, 3"),
        ({"mask_radius": 2}, r"model.mask_radius is 2, on 5 x 5 patches; expected more patches along a side"),
        ({"patches": 65}, r"4,225 patches are too many for the transformer; .*model.pooling"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        network(**changes)


# What it scores by


def test_fitting_whitens():
    model, x = network(), embeddings(400)
    covariance = fit(model, x)
    z = model._whitened(x).flatten(0, 1).double()
    assert z.mean(0).abs().max() < 1e-4
    # What the ridge takes from the identity is known exactly.
    ridge = RIDGE * (covariance.diagonal() + covariance.diagonal().mean())
    factor = torch.linalg.inv(torch.linalg.cholesky((covariance + ridge.diag()).double()))
    expected = factor @ covariance.double() @ factor.T
    found = z.T @ z / (len(z) * 399 / 400)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert (found - torch.eye(WIDTH)).abs().max() < 0.2


def test_embeddings_that_do_not_vary_are_no_harm():
    model, x = network(), torch.ones(3, WIDTH, SIDE, SIDE)
    fit(model, x)
    model.eval().fit_residual([x])
    assert model.score_patches(x).isfinite().all()


@pytest.mark.parametrize("objective", ["nll", "mse", "cosine", "kl + nll"])
def test_the_score_is_the_mahalanobis_distance_of_the_residual(objective):
    model, x = as_if_trained(network(objective)), embeddings(300)
    fit(model, x)
    model.fit_residual(x.split(64))
    new = embeddings(2, seed=5)
    found = model.score_patches(new)
    assert found.shape == (2, SIDE, SIDE)
    learnt, residual = (model._residuals(one).double().detach().numpy() for one in (x, new))
    deviation = learnt.std(axis=(0, 2, 3))
    for row, column in ((0, 0), (2, 3)):
        samples = learnt[:, :, row, column] / deviation
        covariances = [np.cov((learnt[:, :, r, c] / deviation).T) for r in range(SIDE) for c in range(SIDE)]
        shared = np.mean(covariances, axis=0)
        share = 5 / (5 + 300)  # that of the covariance of all positions, and a ridge
        covariance = (1 - share) * np.cov(samples.T) + share * shared + 0.01 * np.trace(shared) / WIDTH * np.eye(WIDTH)
        for image in range(2):
            here = residual[image, :, row, column] / deviation
            expected = mahalanobis(here, samples.mean(0), np.linalg.inv(covariance)) / WIDTH**0.5
            assert float(found[image, row, column]) == pytest.approx(expected, rel=5e-3)


def test_the_score_of_a_bound_is_the_bound_itself():
    model, x = as_if_trained(network("2*vae + kl")), embeddings()
    fit(model, x)
    assert model.residual is None
    model.fit_residual([x])  # nothing to fit
    with torch.inference_mode():
        z = model._whitened(x)
        bound = model.variational(z, None, model._context(z, None)).vae
    torch.testing.assert_close(model.score_patches(x), 2 * bound.view(4, SIDE, SIDE))
    assert torch.equal(model.score_patches(x), model.score_patches(x))


def test_training_lowers_the_likelihood_where_context_tell():
    """Every image has one level of its own: what a patch should be stands in all others."""
    generator = torch.Generator().manual_seed(0)
    level = torch.randn(64, WIDTH, 1, 1, generator=generator)
    x = level + 0.1 * torch.randn(64, WIDTH, SIDE, SIDE, generator=generator)
    model = network("nll", depth=1, width=32)
    fit(model, x)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for step in range(150):
        optimizer.zero_grad()
        terms, _ = model.terms(x, seed=0, step=step, samples=range(64))
        terms["nll"].backward()
        optimizer.step()
        losses.append(terms["nll"].item())
    assert losses[0] > 1.2 and losses[-1] < losses[0] - 0.5
    model.eval().fit_residual([x])
    odd = x[:2].clone()
    odd[:, :, 2, 2] = -odd[:, :, 2, 2]
    assert (model.score_patches(odd)[:, 2, 2] > 2 * model.score_patches(x[:2])[:, 2, 2]).all()
