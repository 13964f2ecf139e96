"""The nearest row of a memory, exactly, by one matrix product at a time."""

import torch
import torch.nn.functional as F
from torch import Tensor

PRODUCT = 2**22
"""Distances that are held at once, at most (16 MB): more no longer stay in the cache."""
BLOCK = 64
"""Distances among which the nearest is looked up; the least of each block is found five times sooner than its place."""


def searchable(patches_MD: Tensor) -> Tensor:
    """What `nearest_distance` takes: patches in single precision, and a column of halves of their squared norms.

    There are rows to whole blocks, ``(M', D + 1)``; whatever fills the last one is infinitely far.
    """
    memory_MD = patches_MD.float()
    missing = 0 if torch.compiler.is_exporting() else -len(memory_MD) % BLOCK
    half_norms_M = F.pad(memory_MD.square().sum(1) / 2, (0, missing), value=torch.inf)
    return torch.cat([F.pad(memory_MD, (0, 0, 0, missing)), half_norms_M[:, None]], dim=1)


def nearest_distance(x_ND: Tensor, memory_ME: Tensor) -> Tensor:
    """Euclidean distance from each row of ``x_ND`` to the nearest row of a memory (`searchable`); ``(N,)``.

    The search uses one matrix product; the winners' distances are then computed directly, so that the product's
    cancellation does not show in small distances.
    """
    if torch.compiler.is_exporting():
        nearest_N = _relative(memory_ME, x_ND).T.argmin(1)
    else:
        rows = max(PRODUCT // len(memory_ME), 1)
        nearest_N = torch.cat([_nearest(x_nD, memory_ME) for x_nD in torch.split(x_ND, rows)])
    distance_N: Tensor = torch.linalg.vector_norm(x_ND - memory_ME[nearest_N, :-1], dim=1)
    return distance_N


def _relative(memory_ME: Tensor, x_ND: Tensor) -> Tensor:
    """Half the squared distance from each row of the memory, less what is the same for all, ``(M, N)``.

    The memory stands first: of few rows by many, a processor multiplies this way round in two thirds of the time.
    """
    return memory_ME @ F.pad(-x_ND, (0, 1), value=1.0).T


def _nearest(x_ND: Tensor, memory_ME: Tensor) -> Tensor:
    relative_KBN = _relative(memory_ME, x_ND).view(-1, BLOCK, len(x_ND))
    block_N = relative_KBN.amin(1).argmin(0)
    within_N = relative_KBN[block_N, :, torch.arange(len(x_ND), device=x_ND.device)].argmin(1)
    return block_N * BLOCK + within_N
