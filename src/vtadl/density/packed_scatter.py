"""Scatter matrices in 20 bits a number: what merging Gaussians later takes.

The inverse factors that a Gaussian scores with are shrunk and rounded to half precision: too coarse to learn more from.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 2**19 - 1
"""Steps from 0 to 1: an entry, over the roots of its two diagonal entries, is off by half a step at most, 0.95e-6, and
by float32's own rounding."""

CHUNK = 128
"""Positions worked on at a time: copies of all at once would triple the peak. Even, so that pairs stay together."""


def pack_scatter(scatter_PDD: Tensor) -> dict[str, Tensor]:
    """Roots of the diagonals, and the lower triangles over them in fixed point.

    Args:
        scatter_PDD: symmetric, positive semi-definite.

    Returns:
        ``deviation`` (P, D) float32; ``high`` (P, T) int16 and ``low`` (P * T / 2, rounded up) uint8, which holds the
        last four bits of two numbers a byte, for the T = D (D - 1) / 2 entries below the diagonal.
    """
    packed = [_packed(part_QDD) for part_QDD in torch.split(scatter_PDD, CHUNK)]
    return {name: torch.cat([part[name] for part in packed]) for name in packed[0]}


def _packed(scatter_PDD: Tensor) -> dict[str, Tensor]:
    width = scatter_PDD.shape[1]
    rows, columns = torch.tril_indices(width, width, offset=-1, device=scatter_PDD.device)
    deviation_PD = scatter_PDD.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
    safe_PD = deviation_PD.clamp_min(torch.finfo(deviation_PD.dtype).tiny)
    share_PT = scatter_PDD[:, rows, columns] / safe_PD[:, rows] / safe_PD[:, columns]
    steps_PT = (share_PT.clamp(-1, 1) * STEPS).round().int()
    last_L = F.pad((steps_PT & 15).flatten(), (0, steps_PT.numel() % 2))
    return {
        "deviation": deviation_PD,
        "high": (steps_PT >> 4).short(),
        "low": (last_L[0::2] | last_L[1::2] << 4).to(torch.uint8),
    }


def unpack_scatter(packed: Mapping[str, Tensor]) -> Tensor:
    """The matrices that `pack_scatter` packed, ``(P, D, D)`` float32."""
    deviation_PD, high_PT = packed["deviation"], packed["high"]
    width, triangle = deviation_PD.shape[1], high_PT.shape[1]
    rows, columns = torch.tril_indices(width, width, offset=-1, device=deviation_PD.device)
    scatter_PDD = torch.diag_embed(deviation_PD.square())
    for first in range(0, len(high_PT), CHUNK):
        part_QT, roots_QD = high_PT[first : first + CHUNK], deviation_PD[first : first + CHUNK]
        start = first * triangle // 2  # a chunk has an even count of numbers
        pairs = packed["low"][start : start + (part_QT.numel() + 1) // 2].int()
        last_L = torch.stack([pairs & 15, pairs >> 4], dim=1).flatten()[: part_QT.numel()]
        steps_QT = (part_QT.int() << 4) | last_L.view_as(part_QT)
        values_QT = steps_QT.float() / STEPS * roots_QD[:, rows] * roots_QD[:, columns]
        scatter_PDD[first : first + CHUNK, rows, columns] = values_QT
        scatter_PDD[first : first + CHUNK, columns, rows] = values_QT
    return scatter_PDD
