"""Detectors fitted to images that are tensors, not files."""

from collections.abc import Iterator

import torch
from torch import Tensor


class TensorSession:
    """As `vtadl.models.protocol.Session`, for detectors that take no optimiser steps."""

    device = torch.device("cpu")

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def batches(self, images: Tensor, size: tuple[int, int], title: str = "fitting") -> Iterator[Tensor]:
        assert images.shape[-2:] == size
        yield from images.split(5)


def fit_to(model, images_B3HW: Tensor, seed: int = 0):
    """The model, fitted to images ``(B, 3, *model.input_size)``."""
    model.fit(images_B3HW, TensorSession(seed))
    return model.eval()
