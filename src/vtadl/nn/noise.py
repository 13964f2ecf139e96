"""Noise that depends on keys alone: an image gets the same in any batch, on any device, in any of several processes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def generators(seed: int, step: int, samples: Sequence[int]) -> list[np.random.Generator]:
    """A generator for each sample of a training step."""
    return [np.random.default_rng((seed, step, sample)) for sample in samples]


def standard_normal(noise: Sequence[np.random.Generator], shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal ``(B, *shape)``, each image's from its own generator, on the device of ``like``."""
    drawn = np.stack([generator.standard_normal(tuple(shape), dtype=np.float32) for generator in noise])
    return torch.from_numpy(drawn).to(like)
