"""What every figure is computed from: one scored image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.errors import DataError

GOOD = "good"


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """One test image's scores and truth; larger scores are more abnormal, in any range."""

    name: str
    defect: str
    """``good``, or the defect's type."""
    score: float
    score_map: NDArray[np.floating] | None
    """``(H, W)`` float32 or float64; ``None`` where a detector gives no map."""
    mask: NDArray[np.bool_] | None
    """``(H, W)``, true on the defect. ``None`` means all false for a good image, and *unknown* for a defective one."""

    @property
    def is_good(self) -> bool:
        """Whether the image shows no defect."""
        return self.defect == GOOD


def check(images: Sequence[ScoredImage]) -> None:
    """Refuse what would make a figure wrong; NaN in a map is found later, where its pixels are read.

    Raises:
        DataError: a NaN score, a map that is no float image, a mask that is not boolean, of another size than its map,
            or that marks a defect on a good image. The message names the image.
    """
    for image in images:
        if np.isnan(image.score):
            raise DataError(f"'{image.name}' has the score NaN; expected a number or an infinity")
        if image.score_map is not None:
            _check_map(image.name, image.score_map)
        if image.mask is not None:
            _check_mask(image, image.mask)


def has_pixels(images: Sequence[ScoredImage]) -> bool:
    """Whether every image has a score map and every defective one a mask, so that pixel figures exist."""
    return all(i.score_map is not None and (i.is_good or i.mask is not None) for i in images)


def _check_map(name: str, score_map: NDArray[np.floating]) -> None:
    if score_map.ndim != 2 or score_map.size == 0 or score_map.dtype not in (np.float32, np.float64):
        raise DataError(
            f"the score map of '{name}' is {score_map.dtype} of shape {score_map.shape}; "
            "expected float32 or float64 of shape (height, width)"
        )


def _check_mask(image: ScoredImage, mask: NDArray[np.bool_]) -> None:
    if mask.dtype != np.bool_:
        raise DataError(f"the mask of '{image.name}' is {mask.dtype}; expected bool, such as mask > 0")
    if image.score_map is not None and mask.shape != image.score_map.shape:
        raise DataError(
            f"the mask of '{image.name}' is {_size(mask)} but its score map is {_size(image.score_map)}; "
            "resample the map to the mask's size first"
        )
    if image.is_good and mask.any():
        raise DataError(f"'{image.name}' counts as good but its mask marks a defect; give it a defect type")


def _size(array: NDArray[np.generic]) -> str:
    return "x".join(str(side) for side in reversed(array.shape))
