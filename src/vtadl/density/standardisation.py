"""Distances of any density on one scale: logarithms, standardised by how good images score that it did not learn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

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


@dataclass(frozen=True, kw_only=True)
class LogMoments:
    """First and second moments of log distances at each position, ``(H, W)`` in double precision."""

    mean: Tensor
    square: Tensor
    scored: int
    """Images behind them."""
    weight: float
    """Images that they stand for, of which those were scored."""

    @classmethod
    def of(cls, distances_NHW: Tensor, weight: float) -> Self:
        """The moments of distances ``(N, H, W)``, 0 or more; without any, of no weight."""
        scored = len(distances_NHW)
        if not scored:
            nothing_HW = torch.zeros(distances_NHW.shape[1:], dtype=torch.float64, device=distances_NHW.device)
            return cls(mean=nothing_HW, square=nothing_HW, scored=0, weight=0.0)
        logs_NHW = _logs(distances_NHW).double()
        return cls(mean=logs_NHW.mean(0), square=logs_NHW.square().mean(0), scored=scored, weight=weight)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `tensors` gave."""
        scored, weight = int(tensors["scored"]), float(tensors["weight"])
        return cls(mean=tensors["log_mean"], square=tensors["log_square"], scored=scored, weight=weight)

    def tensors(self) -> dict[str, Tensor]:
        """As tensors, to be stored."""
        return {
            "log_mean": self.mean,
            "log_square": self.square,
            "scored": torch.tensor(self.scored),
            "weight": torch.tensor(self.weight),
        }

    def merged(self, more: "LogMoments") -> "LogMoments":
        """Both together, by their weights."""
        weight = self.weight + more.weight
        share = more.weight / weight if weight else 0.0
        return LogMoments(
            mean=self.mean.lerp(more.mean, share),
            square=self.square.lerp(more.square, share),
            scored=self.scored + more.scored,
            weight=weight,
        )


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

    def fit(self, logs: LogMoments, inside_HW: Tensor) -> None:
        """Measure mean and deviation; nothing changes without an image, or where each position has but one value.

        Args:
            logs: of good images that the density did not learn from, or as if it had not.
            inside_HW: bool, the patches that count; some do.
        """
        if logs.scored < (2 if self.by_position else 1):
            return
        mean_HW = torch.full_like(logs.mean, float(logs.mean[inside_HW].mean()))
        deviation_HW = torch.ones_like(mean_HW)
        if self.by_position:
            mean_HW = gaussian_smooth(logs.mean[None], NEIGHBOURS)[0]
            deviation_HW = gaussian_smooth(_variance_about(mean_HW, logs)[None], NEIGHBOURS)[0].sqrt()
            deviation_HW = deviation_HW + MODERATION * deviation_HW[inside_HW].mean().clamp_min(LEAST_DISTANCE)
        first = ((logs.mean - mean_HW) / deviation_HW)[inside_HW].mean()
        second = (_variance_about(mean_HW, logs) / deviation_HW.square())[inside_HW].mean()
        scale = (second - first.square()).clamp_min(0).sqrt().clamp_min(LEAST_DISTANCE)
        self.mean = (mean_HW + deviation_HW * first).float()
        self.deviation = (deviation_HW * scale).float()

    def forward(self, distances_BHW: Tensor) -> Tensor:
        """Distances ``(B, H, W)``, 0 or more, to standardised logarithms: about 0 with deviation 1 on good images."""
        return ((_logs(distances_BHW) - self.mean) / self.deviation).clamp_min(CALM)


def _logs(distances: Tensor) -> Tensor:
    return distances.clamp_min(LEAST_DISTANCE).log()


def _variance_about(mean_HW: Tensor, logs: LogMoments) -> Tensor:
    """Mean squared difference from a value at each position."""
    return (logs.square - 2 * mean_HW * logs.mean + mean_HW.square()).clamp_min(0)
