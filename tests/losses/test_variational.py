import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vtadl.losses.variational import reparameterised, vae, vae_image


def test_reparameterised_sample_has_the_moments():
    mean, log_var = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0])
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    z = reparameterised(mean, log_var, noise)
    torch.testing.assert_close(z.mean(0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(z.var(0), log_var.exp(), atol=0.01, rtol=0.01)


def test_bound_against_distributions():
    generator = torch.Generator().manual_seed(1)
    x, mean, log_var = (torch.randn(2, 3, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    latent_mean, latent_log_var = (torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    prior = Normal(torch.zeros(4).double(), torch.ones(4).double())
    expected = kl_divergence(Normal(latent_mean, (0.5 * latent_log_var).exp()), prior).sum(-1)
    expected = expected - Normal(mean, (0.5 * log_var).exp()).log_prob(x).sum(-1)
    torch.testing.assert_close(vae(x, mean, log_var, latent_mean, latent_log_var), expected, atol=1e-6, rtol=0)


def test_bound_is_tight_for_the_true_posterior_and_above_for_others():
    """A linear Gaussian model, x = w z + noise, whose likelihood and posterior are known."""
    generator = torch.Generator().manual_seed(2)
    w = torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    log_var = torch.tensor([0.1, -0.3, 0.2], dtype=torch.float64)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    exact = -MultivariateNormal(torch.zeros(3).double(), w @ w.T + log_var.exp().diag()).log_prob(x)
    precision = 1 + (w[:, 0] ** 2 / log_var.exp()).sum()
    posterior_mean = (x / log_var.exp()) @ w / precision
    posterior_log_var = (-precision.log()).expand(5, 1)
    noise = torch.randn(50_000, 1, 1, generator=generator, dtype=torch.float64)

    def bound(mean, log_variance):
        z = reparameterised(mean, log_variance, noise)
        return vae(x, z * w[:, 0], log_var.expand(5, 3), mean, log_variance).mean(0)

    torch.testing.assert_close(bound(posterior_mean, posterior_log_var), exact, atol=0.02, rtol=0)
    assert (bound(posterior_mean + 0.5, posterior_log_var) > exact + 0.1).all()
    assert (bound(posterior_mean, posterior_log_var + 1) > exact + 0.1).all()


def test_image_bound_is_per_pixel_value():
    generator = torch.Generator().manual_seed(3)
    images, decoded = (torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    latent_mean, latent_log_var = (torch.randn(2, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    log_var = torch.tensor(-1.5, dtype=torch.float64)
    ours = vae_image(images, decoded, log_var, latent_mean, latent_log_var)
    prior = Normal(torch.zeros(7).double(), torch.ones(7).double())
    expected = kl_divergence(Normal(latent_mean, (0.5 * latent_log_var).exp()), prior).sum(-1)
    expected = expected - Normal(decoded, (0.5 * log_var).exp()).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(ours, expected / 60, atol=1e-6, rtol=0)


def test_gradients_are_right():
    generator = torch.Generator().manual_seed(4)
    shapes = ((1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 2, 2), (1, 2, 2))
    parts = [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(vae, parts)
