"""What every metric is computed from: one scored image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.errors import DataError

GOOD = "good"


@dataclass(frozen=True, kw_only=True)
class AnnotatedRegion:
    """One annotated defect, of which finding a part may be enough."""

    mask: NDArray[np.bool_]
    """``(H, W)``, with at least one pixel."""
    saturation: float
    """In (0, 1]: the share of its pixels that covers it wholly."""


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """One test image's scores and truth; larger scores are more abnormal, in any range."""

    name: str
    defect: str
    """``good``, or the defect's type."""
    score: float
    anomaly_map: NDArray[np.floating] | None
    """``(H, W)`` float32 or float64; ``None`` where a detector gives no map."""
    mask: NDArray[np.bool_] | None
    """``(H, W)``, true on the defect. ``None`` means all false for a good image, and *unknown* for a defective one."""
    regions: tuple[AnnotatedRegion, ...] | None = None
    """What AUPRO is taken over, where the annotation says it: together they are the mask, and they may overlap.
    ``None``: the mask's connected components, each of which must be covered whole."""

    @property
    def is_good(self) -> bool:
        """Whether the image shows no defect."""
        return self.defect == GOOD


def check(images: Sequence[ScoredImage]) -> None:
    """Refuse what would make a metric wrong; NaN in a map is found later, where its pixels are read.

    Raises:
        DataError: a NaN score, a map that is no float image, a mask that is not boolean, of another size than its map,
            or that marks a defect on a good image. The message names the image.
    """
    for image in images:
        if np.isnan(image.score):
            raise DataError(f"'{image.name}' has the score NaN; expected a number or an infinity")
        if image.anomaly_map is not None:
            _check_map(image.name, image.anomaly_map)
        if image.mask is not None:
            _check_mask(image, image.mask)


def has_pixels(images: Sequence[ScoredImage]) -> bool:
    """Whether every image has an anomaly map and every defective one a mask, so that pixel metrics exist."""
    return all(i.anomaly_map is not None and (i.is_good or i.mask is not None) for i in images)


def _check_map(name: str, anomaly_map: NDArray[np.floating]) -> None:
    if anomaly_map.ndim != 2 or anomaly_map.size == 0 or anomaly_map.dtype not in (np.float32, np.float64):
        raise DataError(
            f"the anomaly map of '{name}' is {anomaly_map.dtype} of shape {anomaly_map.shape}; "
            "expected float32 or float64 of shape (height, width)"
        )


def _check_mask(image: ScoredImage, mask: NDArray[np.bool_]) -> None:
    if mask.dtype != np.bool_:
        raise DataError(f"the mask of '{image.name}' is {mask.dtype}; expected bool, such as mask > 0")
    if image.anomaly_map is not None and mask.shape != image.anomaly_map.shape:
        raise DataError(
            f"the mask of '{image.name}' is {_size(mask)} but its anomaly map is {_size(image.anomaly_map)}; "
            "resample the map to the mask's size first"
        )
    if image.regions is not None:
        union = np.any([region.mask for region in image.regions], axis=0) if image.regions else np.zeros_like(mask)
        if not np.array_equal(union, mask):
            raise DataError(f"the regions of '{image.name}' are not its mask; expected regions that make it up")
    if image.is_good and mask.any():
        raise DataError(f"'{image.name}' counts as good but its mask marks a defect; give it a defect type")


def _size(array: NDArray[np.generic]) -> str:
    return "x".join(str(side) for side in reversed(array.shape))
