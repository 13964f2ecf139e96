"""Detectors fitted to images that are tensors, not files."""

from collections.abc import Iterator

import torch
from torch import Tensor


class TensorImages:
    """As `vtadl.data.training_images.TrainingImages`, of images that are there already."""

    roi_mask = None

    def __init__(self, images_B3HW: Tensor) -> None:
        self.images_B3HW = images_B3HW

    def __len__(self) -> int:
        return len(self.images_B3HW)


class TensorSession:
    """As `vtadl.models.protocol.Session`, for detectors that take no optimiser steps."""

    device = torch.device("cpu")

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def batches(self, images: TensorImages, size: tuple[int, int], title: str = "fitting") -> Iterator[Tensor]:
        assert images.images_B3HW.shape[-2:] == size
        yield from images.images_B3HW.split(5)


def fit_to(model, images_B3HW: Tensor, seed: int = 0):
    """The model, fitted to images ``(B, 3, *model.input_size)``."""
    model.fit(TensorImages(images_B3HW), TensorSession(seed))
    return model.eval()
