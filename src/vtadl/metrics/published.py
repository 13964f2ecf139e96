"""What VT-ADL's published code calls its PRO score, to set its table beside metrics that mean what they say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vtadl.metrics.curves import ranked_auroc
from vtadl.metrics.ranking import rank

PROTOCOL = "vtadl-2021"
METRIC = "vtadl2021_PRO"
WARNING = (
    f"{METRIC} is no per-region overlap: it is the pixel AUROC that VT-ADL's published code calls PRO, with the border "
    "cropped away and masks dilated by interpolation; compare it with nothing but numbers of that code"
)
RESIZED, CROPPED = 550, 512
"""Sides in pixels of the square that everything is squeezed into, and of what is kept of its middle."""


def published_pro(maps: Sequence[NDArray[np.floating]], masks: Sequence[NDArray[np.bool_] | None]) -> float | None:
    """Pixel AUROC of maps and masks that are resized to 550 x 550 pixels, of which the middle 512 x 512 count.

    Masks are interpolated like pictures, and what is not black afterwards is defective, so regions grow.

    Args:
        maps: ``(H, W)`` each, higher is more abnormal.
        masks: of the same sizes, true where defective; ``None``: the image is good.

    Returns:
        A value in [0, 1]; ``None`` where one kind of pixel is missing.

    Source: the code released with P. Mishra et al., VT-ADL, ISIE 2021: ``roc_auc_score`` over all pixels.
    """
    good, bad = [], []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        scores = _middle(Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32)))
        defective = np.zeros(scores.shape, bool)
        if mask is not None:
            defective = _middle(Image.fromarray(mask.astype(np.uint8) * 255)) > 0
        good.append(scores[~defective])
        bad.append(scores[defective])
    negatives, positives = np.concatenate(good), np.concatenate(bad)
    if not (negatives.size and positives.size):
        return None
    return ranked_auroc(rank(negatives, positives))


def _middle(image: Image.Image) -> NDArray[Any]:
    """Torchvision's ``Resize`` of a picture and ``CenterCrop``."""
    start = (RESIZED - CROPPED) // 2
    resized = np.asarray(image.resize((RESIZED, RESIZED), Image.Resampling.BILINEAR))
    return resized[start : start + CROPPED, start : start + CROPPED]
