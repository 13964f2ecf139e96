"""A subset that covers a set: the greedy k-centre choice, in batches.

In each round the farthest rows are chosen that also lie far from one another. The cover is that of the plain greedy
choice to within a few per cent, in a small part of its time.
"""

import torch
from torch import Tensor

PROJECTED_WIDTH = 32
"""Width of the random projection in which the coreset is chosen (Johnson-Lindenstrauss)."""
ROUND = 16
"""Patches that a round of the coreset adds, at most."""


def greedy_coreset(x_ND: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Indices of a subset that covers all rows: no row is far from its nearest chosen one.

    Args:
        x_ND: ``(N, D)``.
        size: rows to choose, at most.
        generator: source of the random projection and of the first row.

    Returns:
        ``(min(size, N),)`` distinct indices. Cost: N * size * PROJECTED_WIDTH.
    """
    if len(x_ND) <= size:
        return torch.arange(len(x_ND), device=x_ND.device)
    # Drawn on the CPU, so that the same seed draws the same on every device.
    projection = torch.randn(x_ND.shape[1], PROJECTED_WIDTH, generator=generator) / PROJECTED_WIDTH**0.5
    x_NK = x_ND @ projection.to(x_ND)
    norms_N = x_NK.square().sum(1)

    chosen = torch.empty(size, dtype=torch.long, device=x_ND.device)
    chosen[0] = int(torch.randint(len(x_NK), (1,), generator=generator))
    count, fresh = 1, chosen[:1]
    distance_N = torch.full_like(norms_N, torch.inf)
    while count < size:
        squared_NR = torch.addmm(norms_N[:, None] + norms_N[fresh], x_NK, x_NK[fresh].T, alpha=-2)
        distance_N = torch.minimum(distance_N, squared_NR.amin(1))
        distance_N[fresh] = -1
        fresh = _far_apart(x_NK, distance_N, min(ROUND, size - count))
        chosen[count : count + len(fresh)] = fresh
        count += len(fresh)
    return chosen


def _far_apart(x_NK: Tensor, distance_N: Tensor, most: int) -> Tensor:
    """The greedy choice among the farthest rows, as long as it stays as far out as the candidates themselves."""
    value, index = distance_N.topk(min(4 * most, int((distance_N >= 0).sum())))
    between = torch.cdist(x_NK[index], x_NK[index]).square()
    remaining = value.clone()
    picked: list[int] = []
    for _ in range(most):
        best = int(remaining.argmax())
        # Below the last candidate's distance, a row outside the candidates might have been the better choice.
        if picked and remaining[best] < value[-1]:
            break
        picked.append(best)
        remaining = torch.minimum(remaining, between[best])
        remaining[best] = -1
    return index[picked]
