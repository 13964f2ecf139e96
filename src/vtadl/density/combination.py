"""One score from several densities: each brought to one scale, then averaged by weight."""

import torch
from torch import Tensor, nn


class Combination(nn.Module):
    """Weighted mean of parts' values, each less its mean on good patches and over its deviation there.

    Log tail probabilities, the other way to one scale, were compared and are worse: they stretch the tail of the part
    that is least sure of good patches.

    State: ``location``, ``scale``, ``weights``, each ``(K,)`` for K parts.

    Args:
        parts: K.
    """

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.location: Tensor
        self.scale: Tensor
        self.weights: Tensor
        self.register_buffer("location", torch.zeros(parts))
        self.register_buffer("scale", torch.ones(parts))
        self.register_buffer("weights", torch.full((parts,), 1 / parts))

    def fit(self, values_KN: Tensor) -> None:
        """Find each part's scale from its values on good patches that it did not learn from."""
        self.location = values_KN.mean(1)
        self.scale = values_KN.std(1, correction=0).clamp_min(1e-6)

    def standardised(self, values_BKHW: Tensor) -> Tensor:
        """Deviations above what is usual on good patches, ``(B, K, H, W)``."""
        return (values_BKHW - self.location[:, None, None]) / self.scale[:, None, None]

    def forward(self, values_BKHW: Tensor) -> Tensor:
        """The parts' values to one score, ``(B, H, W)``."""
        return (self.standardised(values_BKHW) * self.weights[:, None, None]).sum(1)
