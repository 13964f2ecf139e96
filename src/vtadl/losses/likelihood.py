"""Negative log-likelihoods, in nats, of Gaussians and of mixtures of them."""

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
LOG_VAR_LIMIT = 6.0
"""Bound of learned log variances: standard deviations between 0.05 and 20."""


def gaussian_nll(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Negative log-likelihood of diagonal Gaussians, in nats.

    Args:
        x: ``(..., D)``.
        mean: ``(..., D)``, broadcast against ``x``.
        log_var: the same shape; **log** variances, not variances.

    Returns:
        ``(...)``, summed over D.

    Source: C. Bishop, Mixture Density Networks, 1994, eq. 23.
    """
    squared_error = (x - mean).square() * (-log_var).exp()
    return 0.5 * (squared_error + log_var + LOG_2PI).sum(-1)


def mixture_nll(log_weights_BNK: Tensor, component_nll_BNK: Tensor) -> Tensor:
    """Negative log-likelihood of a mixture, in nats.

    Args:
        log_weights_BNK: ``(B, N, K)`` logarithms of the mixture weights, which sum to one over K.
        component_nll_BNK: ``(B, N, K)`` negative log-likelihood under each component alone.

    Returns:
        ``(B, N)``, one value per patch.

    Source: C. Bishop, Mixture Density Networks, 1994, eq. 22 and 29.
    """
    return -torch.logsumexp(log_weights_BNK - component_nll_BNK, dim=-1)


def nll_reference(log_weights_BNK: Tensor, component_nll_BNK: Tensor, width: int) -> Tensor:
    """The score of VT-ADL's published code, which is no mixture's likelihood; kept to reproduce it.

    It is the weighted mean of the components' negative log-likelihoods (an upper bound of the mixture's), and its
    constant log(2 pi) / 2 is counted once instead of once per dimension.

    Args:
        log_weights_BNK: ``(B, N, K)`` logarithms of the mixture weights.
        component_nll_BNK: ``(B, N, K)`` negative log-likelihood under each component, all constants included.
        width: D, the dimensions of an embedding.

    Returns:
        ``(B, N)``, one value per patch, in nats up to that constant.
    """
    published_BNK = component_nll_BNK - 0.5 * (width - 1) * LOG_2PI
    return (log_weights_BNK.exp() * published_BNK).sum(-1)


def kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Divergence KL(N(mean, exp(log_var)) || N(0, I)) in nats: ``(..., L)`` to ``(...)``, summed over L.

    Source: D. Kingma and M. Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)


def bounded_log_var(raw: Tensor) -> Tensor:
    """Squeeze a network's output smoothly into (-6, 6): no variance can vanish or overflow."""
    return LOG_VAR_LIMIT * torch.tanh(raw / LOG_VAR_LIMIT)
