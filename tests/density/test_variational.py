import math

import torch
from torch.distributions import Normal, kl_divergence

from vtadl.density.variational import PatchVae
from vtadl.losses.likelihood import bounded_log_var


def test_bound_against_distributions():
    torch.manual_seed(0)
    model = PatchVae(6, 3).double()
    x, noise = torch.randn(2, 5, 6, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    latent_mean, raw = model.encoder(x).chunk(2, -1)
    q = Normal(latent_mean, (0.5 * bounded_log_var(raw)).exp())
    divergence = kl_divergence(q, Normal(torch.zeros(3).double(), torch.ones(3).double())).sum(-1)
    for drawn, z in ((noise, q.mean + q.stddev * noise), (None, q.mean)):
        mean, raw = model.decoder(z).chunk(2, -1)
        expected = divergence - Normal(mean, (0.5 * bounded_log_var(raw)).exp()).log_prob(x).sum(-1)
        bound = model(x, drawn)
        torch.testing.assert_close(bound.vae, expected / 6, atol=1e-6, rtol=0)
        torch.testing.assert_close(bound.kl, divergence / 6, atol=1e-6, rtol=0)


def test_learns_what_is_usual():
    torch.manual_seed(0)
    model = PatchVae(4, 2)
    usual = torch.randn(1, 256, 1) * torch.tensor([1.0, -1.0, 0.5, 2.0]) + 0.05 * torch.randn(1, 256, 4)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        model(usual, torch.randn(1, 256, 2)).vae.mean().backward()
        optimizer.step()
    odd = torch.tensor([[[1.0, 1.0, -0.5, -2.0]]])
    assert model(odd).vae.item() > model(usual).vae.max().item() + 0.5


def test_given_a_context_both_networks_see_it():
    torch.manual_seed(0)
    model = PatchVae(6, 3, context_width=4).double()
    x, context, noise = (torch.randn(2, 5, width, dtype=torch.float64) for width in (6, 4, 3))
    latent_mean, raw = model.encoder(torch.cat([x, context], -1)).chunk(2, -1)
    latent_variance = bounded_log_var(raw).exp()
    z = latent_mean + latent_variance.sqrt() * noise
    mean, raw = model.decoder(torch.cat([z, context], -1)).chunk(2, -1)
    variance = bounded_log_var(raw).exp()
    divergence = 0.5 * (latent_mean**2 + latent_variance - latent_variance.log() - 1).sum(-1)
    nll = 0.5 * ((x - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi)).sum(-1)
    bound = model(x, noise, context)
    torch.testing.assert_close(bound.vae, (divergence + nll) / 6, atol=1e-6, rtol=0)
    torch.testing.assert_close(bound.kl, divergence / 6, atol=1e-6, rtol=0)


def test_without_a_decoder_there_is_the_divergence_alone():
    torch.manual_seed(0)
    whole, part = PatchVae(6, 3, context_width=4), PatchVae(6, 3, context_width=4, decodes=False)
    part.encoder.load_state_dict(whole.encoder.state_dict())
    x, context = torch.randn(2, 5, 6), torch.randn(2, 5, 4)
    assert part.decoder is None
    assert part(x, None, context).vae is None
    assert torch.equal(part(x, None, context).kl, whole(x, None, context).kl)
