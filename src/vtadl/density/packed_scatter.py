"""Scatter matrices in 20 bits a number: what merging Gaussians later takes.

The inverse factors that a Gaussian scores with are shrunk and rounded to half precision: too coarse to learn more from.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STEPS = 2**19 - 1
"""Steps from 0 to 1. An entry, over the roots of its two diagonal entries, is off by 1 / (2 STEPS) < 1e-6 at most."""


def pack_scatter(scatter_PDD: Tensor) -> dict[str, Tensor]:
    """Roots of the diagonals, and the lower triangles over them in fixed point.

    Args:
        scatter_PDD: symmetric, positive semi-definite.

    Returns:
        ``deviation`` (P, D) float32; ``high`` (P, T) int16 and ``low`` (P * T / 2, rounded up) uint8, which holds the
        last four bits of two numbers a byte, for the T = D (D - 1) / 2 entries below the diagonal.
    """
    width = scatter_PDD.shape[1]
    rows, columns = torch.tril_indices(width, width, offset=-1, device=scatter_PDD.device)
    deviation_PD = scatter_PDD.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
    safe_PD = deviation_PD.clamp_min(torch.finfo(deviation_PD.dtype).tiny)
    share_PT = scatter_PDD[:, rows, columns] / safe_PD[:, rows] / safe_PD[:, columns]
    steps_PT = (share_PT.clamp(-1, 1) * STEPS).round().int()
    last_L = torch.nn.functional.pad((steps_PT & 15).flatten(), (0, steps_PT.numel() % 2))
    return {
        "deviation": deviation_PD,
        "high": (steps_PT >> 4).short(),
        "low": (last_L[0::2] | last_L[1::2] << 4).to(torch.uint8),
    }


def unpack_scatter(packed: Mapping[str, Tensor]) -> Tensor:
    """The matrices that `pack_scatter` packed, ``(P, D, D)`` float32."""
    deviation_PD, high_PT = packed["deviation"], packed["high"]
    width = deviation_PD.shape[1]
    rows, columns = torch.tril_indices(width, width, offset=-1, device=deviation_PD.device)
    pairs = packed["low"].int()
    last_L = torch.stack([pairs & 15, pairs >> 4], dim=1).flatten()[: high_PT.numel()]
    steps_PT = (high_PT.int() << 4) | last_L.view_as(high_PT)
    scatter_PDD = torch.diag_embed(deviation_PD.square())
    scatter_PDD[:, rows, columns] = steps_PT.float() / STEPS * deviation_PD[:, rows] * deviation_PD[:, columns]
    scatter_PDD[:, columns, rows] = scatter_PDD[:, rows, columns]
    return scatter_PDD
