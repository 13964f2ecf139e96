"""One score from several densities: each brought to one scale, then averaged by weight."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

OFFSET = 0.1
"""Added to a distance before its logarithm, a tenth of what is usual: without it, patches that never differ (a blank
border) would have a logarithm without bound and spoil the scale."""


SHRINKAGE = 0.1
"""Added to each part's variance of 1 before parts are weighed: two that are nearly the same then share evenly."""


class Combination(nn.Module):
    """Weighted mean of parts' values, each less its mean on good patches and over its deviation there.

    Distances enter by their logarithm, so that their mean is a product: what one part alone finds odd, such as a part
    that is easily excited, counts less than what all of them do. Log tail probabilities, another way to one scale, were
    compared and are worse: they stretch the tail of the part that is least sure of good patches.

    State: ``location``, ``scale``, ``weights``, each ``(K,)`` for K parts.

    Args:
        distances: of each part, whether its values are distances, 0 or more and about 1 on good patches; else they are
            in nats, which are logarithms already.
    """

    def __init__(self, distances: Sequence[bool]) -> None:
        super().__init__()
        parts = len(distances)
        self.distances = tuple(distances)
        self.location: Tensor
        self.scale: Tensor
        self.weights: Tensor
        self.register_buffer("location", torch.zeros(parts))
        self.register_buffer("scale", torch.ones(parts))
        self.register_buffer("weights", torch.full((parts,), 1 / parts))

    def fit(self, values_BKHW: Tensor) -> None:
        """Find each part's scale from its values on good patches that it did not learn from."""
        values_KN = self._logarithms(values_BKHW).transpose(0, 1).flatten(1)
        self.location = values_KN.mean(1)
        self.scale = values_KN.std(1, correction=0).clamp_min(1e-6)

    def weigh(self, values_BKHW: Tensor, counted_K: Tensor) -> None:
        """Weigh the parts so that the score varies least on good patches, after `fit`.

        Were a defect to raise all standardised parts alike, these weights, the inverse of the parts' correlations times
        1, would show it best (Fisher's discriminant): parts that err together share what one of them would get.

        Args:
            values_BKHW: on good patches that no part learned from.
            counted_K: parts that may count, one at least.
        """
        standard_KN = self.standardised(values_BKHW).transpose(0, 1).flatten(1).double()
        correlation_KK = standard_KN @ standard_KN.T / standard_KN.shape[1]
        correlation_KK.diagonal().add_(SHRINKAGE)
        counted = counted_K.to(correlation_KK.device)
        weights_K = torch.zeros_like(correlation_KK[0])
        ones = torch.ones_like(weights_K[counted])
        weights_K[counted] = torch.linalg.solve(correlation_KK[counted][:, counted], ones).clamp_min(0)
        self.weights.copy_(weights_K / weights_K.sum())

    def standardised(self, values_BKHW: Tensor) -> Tensor:
        """Deviations above what is usual on good patches, ``(B, K, H, W)``."""
        return (self._logarithms(values_BKHW) - self.location[:, None, None]) / self.scale[:, None, None]

    def forward(self, values_BKHW: Tensor) -> Tensor:
        """The parts' values to one score, ``(B, H, W)``."""
        return (self.standardised(values_BKHW) * self.weights[:, None, None]).sum(1)

    def _logarithms(self, values_BKHW: Tensor) -> Tensor:
        parts = zip(self.distances, values_BKHW.unbind(1), strict=True)
        return torch.stack([(part + OFFSET).log() if is_distance else part for is_distance, part in parts], dim=1)
