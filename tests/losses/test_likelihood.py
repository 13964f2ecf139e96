import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from vtadl.losses.likelihood import bounded_log_var, gaussian_nll, kl, mixture_nll, nll_reference

B, N, K, D = 2, 5, 4, 7


@pytest.fixture
def mixture() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {"x": normal(B, N, D), "logits": normal(B, N, K), "mean": normal(B, N, K, D), "log_var": normal(B, N, K, D)}


def components(mixture: dict[str, torch.Tensor]) -> torch.Tensor:
    return gaussian_nll(mixture["x"][:, :, None], mixture["mean"], mixture["log_var"])


def test_gaussian_nll_against_distributions(mixture):
    expected = -Normal(mixture["mean"], (0.5 * mixture["log_var"]).exp()).log_prob(mixture["x"][:, :, None]).sum(-1)
    torch.testing.assert_close(components(mixture), expected, atol=1e-6, rtol=0)


def test_mixture_nll_against_distributions(mixture):
    gaussians = Independent(Normal(mixture["mean"], (0.5 * mixture["log_var"]).exp()), 1)
    expected = -MixtureSameFamily(Categorical(logits=mixture["logits"]), gaussians).log_prob(mixture["x"])
    ours = mixture_nll(mixture["logits"].log_softmax(-1), components(mixture))
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_nll_reference_against_a_slow_loop(mixture):
    ours = nll_reference(mixture["logits"].log_softmax(-1), components(mixture), D)
    for b in range(B):
        for n in range(N):
            total = 0.0
            for k in range(K):
                score = math.log(2 * math.pi)
                for d in range(D):
                    log_var = mixture["log_var"][b, n, k, d].item()
                    error = mixture["x"][b, n, d].item() - mixture["mean"][b, n, k, d].item()
                    score += log_var + error**2 / math.exp(log_var)
                total += mixture["logits"][b, n].softmax(-1)[k].item() * 0.5 * score
            assert ours[b, n].item() == pytest.approx(total, abs=1e-6)


def test_published_score_bounds_the_likelihood_from_above(mixture):
    log_weights, nll = mixture["logits"].log_softmax(-1), components(mixture)
    constant = 0.5 * (D - 1) * math.log(2 * math.pi)
    assert (nll_reference(log_weights, nll, D) + constant >= mixture_nll(log_weights, nll)).all()


def test_far_outliers_stay_finite(mixture):
    x = torch.full((1, 1, 1, 512), 1e4, requires_grad=True)
    nll = gaussian_nll(x, torch.zeros(1, 1, 3, 512), torch.full((1, 1, 3, 512), -6.0))
    loss = mixture_nll(torch.full((1, 1, 3), 1 / 3).log(), nll).sum()
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()


def test_kl_against_distributions(mixture):
    q = Normal(mixture["mean"], (0.5 * mixture["log_var"]).exp())
    expected = kl_divergence(q, Normal(torch.zeros(()).double(), torch.ones(()).double())).sum(-1)
    torch.testing.assert_close(kl(mixture["mean"], mixture["log_var"]), expected, atol=1e-6, rtol=0)


def test_bound_is_smooth_monotone_and_the_identity_near_zero():
    raw = torch.linspace(-100, 100, 2001, dtype=torch.float64, requires_grad=True)
    bounded = bounded_log_var(raw)
    assert bounded.abs().max() <= 6 and (bounded.diff() >= 0).all()
    assert bounded_log_var(torch.tensor(0.01)).item() == pytest.approx(0.01, rel=1e-5)
    assert torch.autograd.gradcheck(bounded_log_var, torch.randn(5, dtype=torch.float64, requires_grad=True))


def test_gradients_are_right(mixture):
    def loss(x, logits, mean, log_var):
        nll = gaussian_nll(x[:, :, None], mean, log_var)
        log_weights = logits.log_softmax(-1)
        return mixture_nll(log_weights, nll).sum() + nll_reference(log_weights, nll, D).sum() + kl(mean, log_var).sum()

    assert torch.autograd.gradcheck(loss, [part[:1, :2].clone().requires_grad_() for part in mixture.values()])
