"""Settle what settings leave open by the images to learn from: the shape and size of the model's input."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.config.schema import OPEN, SQUARE, BackboneConfig, Config, ContextConfig, with_aspect, with_image_size
from vtadl.data.aspect import common_aspect
from vtadl.data.hashing import in_order_of_content
from vtadl.models.build import check_model
from vtadl.progress import Progress
from vtadl.training.surfaces import chosen_size


def settled(
    config: Config, paths: Sequence[Path], roi_mask: NDArray[np.bool_] | None, device: torch.device, progress: Progress
) -> Config:
    """The settings with nothing left open.

    Args:
        config: the settings.
        paths: good images, in any order.
        roi_mask: region of interest.
        device: where to embed some of the images, if that is needed.
        progress: shows how far it is.

    Raises:
        ConfigError: what is chosen does not fit the other settings.
        DataError: an image cannot be read.
    """
    if not isinstance(config.model, BackboneConfig):
        return config
    chosen = config
    if config.model.aspect is None:
        chosen = with_aspect(chosen, common_aspect(paths))
    if isinstance(chosen.model, ContextConfig) and chosen.model.image_size == OPEN:
        size = chosen_size(chosen.model, in_order_of_content(paths), roi_mask, device, progress)
        chosen = with_image_size(chosen, size)
    if chosen != config:
        check_model(chosen)
    return chosen


def settled_as(config: Config, other: Config) -> Config:
    """The settings with what they leave open as in others."""
    return with_image_size(with_aspect(config, getattr(other.model, "aspect", SQUARE)), other.model.image_size)
