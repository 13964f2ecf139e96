"""At how many exposures are parts photographed? Found on good training images alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.config.schema import ContextConfig
from vtadl.data.loading import evenly_spread, fitting_batch, load_images
from vtadl.data.roi import mask_or_everything
from vtadl.progress import Progress

MOST_MEASURED = 64
VARIES = 0.1
"""Spread from which on exposures are held to vary. That of magnetic tiles, photographed so on purpose, is 0.32; those
of transistor, bottle and the demo set are below 0.04."""
DARKEST = 1 / 255
"""Taken for the brightness of a black image, whose logarithm has no bound."""
BATCH = 8


def exposure_spread(
    config: ContextConfig,
    paths: Sequence[Path],
    size: tuple[int, int],
    roi_mask: NDArray[np.bool_] | None,
    progress: Progress,
) -> float:
    """By how much the brightness of good images varies: the standard deviation of its logarithm.

    Args:
        config: where ``exposures`` is "fixed", nothing is measured.
        paths: good images.
        size: height and width at which they are measured.
        roi_mask: region of interest; what is outside does not count.
        progress: shows how far it is.

    Returns:
        0 where the spread is below `VARIES`.
    """
    if config.exposures == "fixed":
        return 0.0
    some = evenly_spread(paths, MOST_MEASURED)
    inside_HW = torch.from_numpy(mask_or_everything(roi_mask, size))
    brightness: list[Tensor] = []
    with progress("exposures", len(some)) as advance:
        for batch in load_images(some, size, batch_size=fitting_batch(size, BATCH)):
            brightness.append(batch.images[..., inside_HW].mean((1, 2)))
            advance(len(batch.indices))
    spread = float(torch.cat(brightness).clamp_min(DARKEST).log().std(correction=0))
    return spread if spread >= VARIES else 0.0


def exposed(images_B3HW: Tensor, numbers: Sequence[int], spread: float) -> Tensor:
    """Every second image, those of even number, at another exposure: in turn brighter and darker by one spread.

    All of them teach little more (0.002 of the magnetic tile's AUPRO), and take as long again to embed.

    Args:
        images_B3HW: in [0, 1]; what becomes brighter than 1 is 1, as in a camera.
        numbers: of the images.
        spread: as `exposure_spread` finds it.

    Returns:
        ``(b, 3, H, W)``.
    """
    chosen = [place for place, number in enumerate(numbers) if number % 2 == 0]
    steps_b = torch.tensor([-1.0 if numbers[place] % 4 else 1.0 for place in chosen], device=images_B3HW.device)
    return (images_B3HW[chosen] * (spread * steps_b).exp()[:, None, None, None]).clamp_max(1)
