"""Do images show a part or a surface, and how large should they be seen? Found on good training images alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.config import PART_SIZE, SURFACE_SIZE, ContextConfig
from vtadl.data.loading import evenly_spread, load_images
from vtadl.data.regions_of_interest import blanked, mask_or_everything
from vtadl.density.gaussian import GaussianMoments
from vtadl.models.input_size import view_size
from vtadl.models.stems import build_stem
from vtadl.progress import Progress

MOST_MEASURED = 64
SURFACE = 0.35
"""`position_share` below which images show a surface: that of magnetic tiles is 0.17, of the demo's fabric 0.24; that
of transistor is 0.67, of the demo's flange 0.91, of bottle 0.96."""
BATCH = 8


@torch.inference_mode()
def chosen_size(
    config: ContextConfig,
    paths: Sequence[Path],
    looked_at: NDArray[np.bool_] | None,
    device: torch.device,
    progress: Progress,
) -> int:
    """The ``image_size`` that suits the images, where the settings leave it open.

    A part has a shape, and a patch must be large enough to tell where on the part it is. On a surface every place is
    like every other; there patches may be small, and small ones find thin cracks. Measured on the smaller copy that the
    transformer sees, whose size is the same for both.

    Args:
        config: settings with an ``image_size`` of 0.
        paths: good images.
        looked_at: region of interest; what is outside does not count.
        device: where to embed some of the images.
        progress: shows how far it is.
    """
    stem = build_stem(config).to(device)
    size = view_size(config, stem.multiple, stem.stride)
    rows, columns = (side // (stem.stride * config.pooling) for side in size)
    some = evenly_spread(paths, MOST_MEASURED)
    moments = GaussianMoments()
    with progress("surfaces", len(some)) as advance:
        for batch in load_images(some, size, batch_size=BATCH):
            moments.update(stem(blanked(batch.images, looked_at).to(device), config.pooling))
            advance(len(batch.indices))
    return SURFACE_SIZE if position_share(moments, (rows, columns), looked_at) < SURFACE else PART_SIZE


def position_share(moments: GaussianMoments, grid: tuple[int, int], looked_at: NDArray[np.bool_] | None) -> float:
    """Which share of the variance of embeddings is due to the place of a patch, mean over channels.

    Args:
        moments: of embeddings at each position.
        grid: rows and columns of the positions.
        looked_at: region of interest; positions outside do not count.

    Returns:
        0, where every place is like every other, to 1, where each looks always the same. Of a single image: 1.
    """
    if moments.count < 2:
        return 1.0
    inside_P = torch.from_numpy(mask_or_everything(looked_at, grid).flatten()).to(moments.mean_PD.device)
    mean_PD = moments.mean_PD[inside_P]
    within_D = moments.scatter_PDD.diagonal(dim1=1, dim2=2)[inside_P].mean(0) / (moments.count - 1)
    # The means of few images differ by chance too: without that part, the share would depend on their number.
    between_D = (mean_PD.var(0, correction=0) - within_D / moments.count).clamp_min(0)
    return float((between_D / (between_D + within_D).clamp_min(1e-12)).mean())
