"""Mixture density network: a Gaussian mixture over each patch embedding, whose parameters a network predicts.

Source: C. Bishop, Mixture Density Networks, 1994; over encoded patches in P. Mishra et al., VT-ADL, ISIE 2021.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vtadl.losses.likelihood import bounded_log_var, gaussian_nll, mixture_nll, nll_reference

CHUNK = 10
"""Components whose parameters exist at once; in training they are computed again for the gradient. A batch of 8 images
with 64 patches of width 512 has 10 MB of means for 10 components and 157 MB for the paper's 150, and a gradient would
hold some six arrays of that size."""


@dataclass(frozen=True, kw_only=True)
class MixtureScores:
    """Two readings of how unlikely each patch is, both ``(B, N)``."""

    nll: Tensor
    """Negative log-likelihood, in nats per embedding dimension."""
    nll_reference: Tensor
    """What the published code computes instead, summed over dimensions."""


class MixtureDensity(nn.Module):
    """K diagonal Gaussians for each patch, from the patch's own embedding.

    The faithful variant clamps its input below at machine epsilon, has no biases and takes the softplus of its second
    output for a log variance. The corrected one is linear in the embedding and bounds log variances smoothly.

    Args:
        width: D, dimensions of an embedding.
        mixtures: K, number of Gaussians.
        faithful: whether to compute what the published code computes.
    """

    def __init__(self, width: int, mixtures: int, *, faithful: bool) -> None:
        super().__init__()
        self.width = width
        self.mixtures = mixtures
        self.faithful = faithful
        self.log_weight = nn.Linear(width, mixtures, bias=not faithful)
        # Row k * width + d makes dimension d of component k, so that a chunk of components is a slice of rows.
        self.mean = nn.Linear(width, mixtures * width, bias=not faithful)
        self.log_var = nn.Linear(width, mixtures * width, bias=not faithful)

    def forward(self, embeddings_BND: Tensor) -> MixtureScores:
        """The scores of ``(B, N, D)`` embeddings."""
        log_weights_BNK, component_nll_BNK = self.components(embeddings_BND)
        return MixtureScores(
            nll=mixture_nll(log_weights_BNK, component_nll_BNK) / self.width,
            nll_reference=nll_reference(log_weights_BNK, component_nll_BNK, self.width),
        )

    def components(self, embeddings_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Log weights and the negative log-likelihood under each component, both ``(B, N, K)``, in nats."""
        inputs_BND = self._inputs(embeddings_BND)
        chunks = []
        for start in range(0, self.mixtures, CHUNK):
            if torch.is_grad_enabled():
                nll_BNk = checkpoint(
                    self._component_nll,
                    embeddings_BND,
                    inputs_BND,
                    start,
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            else:
                nll_BNk = self._component_nll(embeddings_BND, inputs_BND, start)
            chunks.append(cast(Tensor, nll_BNk))
        return F.log_softmax(self.log_weight(inputs_BND), dim=-1), torch.cat(chunks, dim=-1)

    def gaussians(self, embeddings_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances of all components, both ``(B, N, K, D)``."""
        return self._gaussians(self._inputs(embeddings_BND), 0, self.mixtures)

    def _inputs(self, embeddings_BND: Tensor) -> Tensor:
        return embeddings_BND.clamp_min(torch.finfo(embeddings_BND.dtype).eps) if self.faithful else embeddings_BND

    def _gaussians(self, inputs_BND: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        rows = slice(start * self.width, stop * self.width)
        mean, raw = (
            F.linear(inputs_BND, layer.weight[rows], None if layer.bias is None else layer.bias[rows])
            for layer in (self.mean, self.log_var)
        )
        log_var = F.softplus(raw) if self.faithful else bounded_log_var(raw)
        shape = (*inputs_BND.shape[:-1], stop - start, self.width)
        return mean.reshape(shape), log_var.reshape(shape)

    def _component_nll(self, embeddings_BND: Tensor, inputs_BND: Tensor, start: int) -> Tensor:
        mean, log_var = self._gaussians(inputs_BND, start, min(start + CHUNK, self.mixtures))
        return gaussian_nll(embeddings_BND[:, :, None], mean, log_var)


class ContextMixture(nn.Module):
    """K diagonal Gaussians for each patch, from what is known of its context: a conditional density.

    Args:
        context_width: C, dimensions of what is known.
        width: D, dimensions of an embedding.
        mixtures: K, number of Gaussians.
    """

    def __init__(self, context_width: int, width: int, mixtures: int) -> None:
        super().__init__()
        self.width = width
        self.log_weight = nn.Linear(context_width, mixtures)
        self.mean = nn.Linear(context_width, mixtures * width)
        self.log_var = nn.Linear(context_width, mixtures * width)

    def forward(self, embeddings_BND: Tensor, context_BNC: Tensor) -> Tensor:
        """Negative log-likelihood of each patch, ``(B, N)``, in nats per embedding dimension."""
        mean, raw = (
            layer(context_BNC).reshape(*context_BNC.shape[:2], -1, self.width)  # (B, N, K, D)
            for layer in (self.mean, self.log_var)
        )
        component_nll_BNK = gaussian_nll(embeddings_BND[:, :, None], mean, bounded_log_var(raw))
        log_weights_BNK = F.log_softmax(self.log_weight(context_BNC), dim=-1)
        return mixture_nll(log_weights_BNK, component_nll_BNK) / self.width

    def expected(self, context_BNC: Tensor) -> Tensor:
        """The mixture's mean of each patch, ``(B, N, D)``."""
        means_BNKD = self.mean(context_BNC).reshape(*context_BNC.shape[:2], -1, self.width)
        weights_BNK = F.softmax(self.log_weight(context_BNC), dim=-1)
        mean_BND: Tensor = (weights_BNK[..., None] * means_BNKD).sum(2)
        return mean_BND
