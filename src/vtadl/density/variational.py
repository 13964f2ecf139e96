"""A variational autoencoder of each patch embedding; its negative ELBO is the patch's score.

Source: D. Kingma and M. Welling, Auto-Encoding Variational Bayes, ICLR 2014.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vtadl.losses.likelihood import bounded_log_var, kl
from vtadl.losses.variational import reparameterised, vae


@dataclass(frozen=True, kw_only=True)
class PatchBound:
    """The bound of each patch and a part of it, both ``(B, N)``, in nats per embedding dimension."""

    vae: Tensor | None
    """``None`` where embeddings are not decoded."""
    kl: Tensor


class PatchVae(nn.Module):
    """q(z|x) and p(x|z) of an embedding x, diagonal Gaussians from networks with one hidden layer.

    Args:
        width: D, dimensions of an embedding and of the hidden layers.
        latent_width: L, dimensions of z.
        context_width: C, dimensions of what is known of each patch beforehand; q and p are then given that, too.
        decodes: whether there is p(x|z) at all; without it there is the divergence alone.
    """

    def __init__(self, width: int, latent_width: int, *, context_width: int = 0, decodes: bool = True) -> None:
        super().__init__()
        self.width = width
        seen, told = width + context_width, latent_width + context_width
        self.encoder = nn.Sequential(nn.Linear(seen, width), nn.GELU(), nn.Linear(width, 2 * latent_width))
        self.decoder: nn.Sequential | None = None
        if decodes:
            self.decoder = nn.Sequential(nn.Linear(told, width), nn.GELU(), nn.Linear(width, 2 * width))

    def forward(
        self, embeddings_BND: Tensor, noise_BNL: Tensor | None = None, context_BNC: Tensor | None = None
    ) -> PatchBound:
        """The negative ELBO.

        Args:
            embeddings_BND: ``(B, N, D)``.
            noise_BNL: ``(B, N, L)`` standard normal, for one sample of z (training); ``None`` takes z at its mean.
            context_BNC: ``(B, N, C)``, where there is one.
        """
        known = [] if context_BNC is None else [context_BNC]
        latent_mean, latent_raw = self.encoder(torch.cat([embeddings_BND, *known], dim=-1)).chunk(2, dim=-1)
        latent_log_var = bounded_log_var(latent_raw)
        divergence_BN = kl(latent_mean, latent_log_var) / self.width
        if self.decoder is None:
            return PatchBound(vae=None, kl=divergence_BN)
        z_BNL = latent_mean if noise_BNL is None else reparameterised(latent_mean, latent_log_var, noise_BNL)
        mean, raw = self.decoder(torch.cat([z_BNL, *known], dim=-1)).chunk(2, dim=-1)
        bound_BN = vae(embeddings_BND, mean, bounded_log_var(raw), latent_mean, latent_log_var)
        return PatchBound(vae=bound_BN / self.width, kl=divergence_BN)
