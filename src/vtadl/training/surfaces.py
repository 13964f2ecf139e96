"""Do images show a part or a surface, and how large should they be seen? Found on good training images alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vtadl.backbones.build import build_backbone
from vtadl.backbones.input_size import view_size
from vtadl.config.schema import PART_SIZE, SURFACE_SIZE, ContextConfig
from vtadl.data.loading import evenly_spread, load_images
from vtadl.data.roi import blanked, mask_or_everything
from vtadl.progress import Progress

MOST_MEASURED = 64
PLACE_TELLS = 0.35
"""`position_share` from which the place of a patch says what it looks like: that of transistor is 0.67, of the demo's
flange 0.91, of bottle 0.96; below it are magnetic tiles with 0.16 and the demo's fabric with 0.24, but also transistors
that were turned or shifted at random (0.15 and 0.27)."""
GAUSSIAN_KURTOSIS = 3.0
"""That of a normal distribution. The patches of a surface are spread like one, or have heavier tails (magnetic tiles
3.4, the demo's fabric 3.3); those of a part come from areas that look different (transistor 2.3, flange 1.6, bottle
1.7, transistors turned or shifted at random 2.5 and 1.8)."""
APART = 0.5
"""`area_share` above which there is something on a background: 0.6 to 0.8 where any of these parts is at half its size
anywhere on a plain one, 0.2 to 0.4 on surfaces."""
AREA = 4
"""Patches along a side of an area."""
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What good images show."""

    position_share: float
    kurtosis: float
    area_share: float

    @property
    def place_tells(self) -> bool:
        """Whether the place of a patch says what it looks like."""
        return self.position_share >= PLACE_TELLS

    @property
    def is_surface(self) -> bool:
        """Whether every place is like every other, in one image as in all."""
        return not self.place_tells and self.kurtosis >= GAUSSIAN_KURTOSIS and self.area_share < APART


@torch.inference_mode()
def chosen_size(
    config: ContextConfig,
    paths: Sequence[Path],
    roi_mask: NDArray[np.bool_] | None,
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
        roi_mask: region of interest; what is outside does not count.
        device: where to embed some of the images.
        progress: shows how far it is.
    """
    backbone = build_backbone(config).to(device)
    size = view_size(config, backbone.multiple, backbone.stride)
    some = evenly_spread(paths, MOST_MEASURED)
    embedded = []
    with progress("surfaces", len(some)) as advance:
        for batch in load_images(some, size, batch_size=BATCH):
            embedded.append(backbone(blanked(batch.images, roi_mask).to(device), config.pooling))
            advance(len(batch.indices))
    return SURFACE_SIZE if scene_of(torch.cat(embedded), roi_mask).is_surface else PART_SIZE


def scene_of(embeddings_NDHW: Tensor, roi_mask: NDArray[np.bool_] | None) -> Scene:
    """What images show, by their embeddings; patches outside the region of interest do not count."""
    rows, columns = embeddings_NDHW.shape[2:]
    inside_P = torch.from_numpy(mask_or_everything(roi_mask, (rows, columns)).flatten()).to(embeddings_NDHW.device)
    x_NDP = embeddings_NDHW.flatten(2)[..., inside_P]
    # About each image's own mean, because exposure changes all of its patches.
    centred_NDP = x_NDP - x_NDP.mean(2, keepdim=True)
    centred_NDP = centred_NDP / centred_NDP.std((0, 2), correction=0, keepdim=True).clamp_min(1e-6)
    distance_NP = centred_NDP.square().mean(1)
    distance_NHW = distance_NP.mean(1, keepdim=True).expand(-1, rows * columns).clone()
    distance_NHW[:, inside_P] = distance_NP
    return Scene(
        position_share=position_share(x_NDP),
        kurtosis=kurtosis(centred_NDP),
        area_share=area_share(distance_NHW.view(-1, rows, columns)),
    )


def position_share(x_NDP: Tensor) -> float:
    """Which share of the variance of embeddings is due to the place of a patch, mean over channels.

    Args:
        x_NDP: embeddings of N images, at P places.

    Returns:
        0, where every place is like every other, to 1, where each looks always the same. Of a single image: 1.
    """
    count = len(x_NDP)
    if count < 2:
        return 1.0
    within_D = x_NDP.var(0).mean(1)
    # The means of few images differ by chance too: without that part, the share would depend on their number.
    between_D = (x_NDP.mean(0).var(1, correction=0) - within_D / count).clamp_min(0)
    return float((between_D / (between_D + within_D).clamp_min(1e-12)).mean())


def kurtosis(x_NDP: Tensor) -> float:
    """Kurtosis of patches along the direction in which they vary most.

    Args:
        x_NDP: embeddings of N images, at P places, about 0.

    Returns:
        3 of a normal distribution, less of areas that look different (1 of two equal ones), more where few patches are
        far from the others. Where nothing varies: 0.
    """
    rows_MD = x_NDP.transpose(1, 2).flatten(0, 1)
    _, axes_DD = torch.linalg.eigh(rows_MD.T @ rows_MD)
    squares_M = (rows_MD @ axes_DD[:, -1]).square()
    return float(squares_M.square().mean() / squares_M.mean().square().clamp_min(1e-12))


def area_share(values_NHW: Tensor) -> float:
    """Which share of the variance within images lies between areas of `AREA` x `AREA` patches.

    Returns:
        0 to 1: 1 / `AREA` squared where neighbours have nothing in common. Where nothing varies: 0.
    """
    areas_NHW = F.avg_pool2d(values_NHW, (min(AREA, values_NHW.shape[1]), min(AREA, values_NHW.shape[2])))
    between, everything = (x.flatten(1).var(1, correction=0).mean() for x in (areas_NHW, values_NHW))
    return float(between / everything.clamp_min(1e-12))
