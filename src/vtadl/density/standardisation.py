"""Distances of any density on one scale: logarithms, standardised by how good images score that it did not learn."""

import torch
from torch import Tensor, nn

from vtadl.nn.smoothing import gaussian_smooth

LEAST_DISTANCE = 1e-6
CALM = -4.0
"""Standardised values are at least this: a patch that the density knows exactly is calm, not infinitely so."""
NEIGHBOURS = 1.0
"""Standard deviation, in patches, of the smoothing of what single positions say of their mean and variance."""
MODERATION = 0.3
"""Added to each position's standard deviation, as a share of their mean: few images tell it badly. As in the moderated
statistic of Tusher, Tibshirani and Chu (PNAS 2001)."""


class Standardisation(nn.Module):
    """Log distances less their mean, over their standard deviation. State: ``mean`` and ``deviation`` (H, W).

    Args:
        grid: rows and columns.
        by_position: whether each position has a mean and deviation of its own. What a density finds unusual in every
            good image at some place, such as at the border, then no longer hides what is unusual there.
    """

    def __init__(self, grid: tuple[int, int], *, by_position: bool) -> None:
        super().__init__()
        self.by_position = by_position
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(grid))
        self.register_buffer("deviation", torch.ones(grid))

    def fit(self, distances_NHW: Tensor, inside_HW: Tensor) -> None:
        """Measure mean and deviation; nothing changes without an image, or where each position has but one value.

        Args:
            distances_NHW: of good images that the density did not learn from, or as if it had not.
            inside_HW: bool, the patches that count; some do.
        """
        if len(distances_NHW) < (2 if self.by_position else 1):
            return
        logs_NHW = _logs(distances_NHW)
        self.mean = torch.full_like(self.mean, float(logs_NHW[:, inside_HW].mean()))
        self.deviation = torch.ones_like(self.deviation)
        if self.by_position:
            self.mean = gaussian_smooth(logs_NHW.mean(0, keepdim=True), NEIGHBOURS)[0]
            variance_HW = gaussian_smooth((logs_NHW - self.mean).square().mean(0, keepdim=True), NEIGHBOURS)[0]
            deviation_HW = variance_HW.sqrt()
            self.deviation = deviation_HW + MODERATION * deviation_HW[inside_HW].mean().clamp_min(LEAST_DISTANCE)
        standardised_NP = ((logs_NHW - self.mean) / self.deviation)[:, inside_HW]
        self.mean = self.mean + self.deviation * standardised_NP.mean()
        self.deviation = self.deviation * standardised_NP.std(correction=0).clamp_min(LEAST_DISTANCE)

    def forward(self, distances_BHW: Tensor) -> Tensor:
        """Distances ``(B, H, W)``, 0 or more, to standardised logarithms: about 0 with deviation 1 on good images."""
        return ((_logs(distances_BHW) - self.mean) / self.deviation).clamp_min(CALM)


def _logs(distances: Tensor) -> Tensor:
    return distances.clamp_min(LEAST_DISTANCE).log()
