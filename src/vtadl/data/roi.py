"""Where to look: a mask of the part of every image that counts, from a PNG or from polygons in JSON.

A mask is for images that all show the same view, and is stretched to each image's size. Outside it images are blanked
before a detector sees them, in training and in prediction alike, so that what happens there changes nothing inside.
"""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vtadl.data.decoding import MAX_PIXELS
from vtadl.data.images import image_size
from vtadl.data.mask_files import read_mask
from vtadl.data.polygons import polygon_of
from vtadl.data.resizing import resize_mask
from vtadl.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

BLANK = 128 / 255
"""What pixels outside the mask become, in [0, 1]: middle grey."""
REGION_FILE = "region_of_interest.png"
"""In a run folder, and in an export."""
STORED_SIDE = 4096


def read_region_of_interest(include: Path | None, ignore: Path | None) -> NDArray[np.bool_] | None:
    """The mask of what counts.

    A PNG counts where it is not black. JSON is ``{"width": W, "height": H, "polygons": [[[x, y], ...], ...]}``, in
    pixels of an image of that size, and counts inside any polygon.

    Args:
        include: file of what to look at; ``None``: everything.
        ignore: file of what to ignore, even where ``include`` counts; ``None``: nothing.

    Returns:
        ``(H, W)``, or ``None`` without any file.

    Raises:
        DataError: a file that cannot be used, two masks of different sizes, or nothing left to look at.
    """
    masks = [None if file is None else _read(file) for file in (include, ignore)]
    roi_mask, ignored = masks
    if roi_mask is None and ignored is None:
        return None
    if roi_mask is not None and ignored is not None and roi_mask.shape != ignored.shape:
        sizes = " and ".join(f"{mask.shape[1]}x{mask.shape[0]}" for mask in (roi_mask, ignored))
        raise DataError(f"the masks '{include}' and '{ignore}' differ in size, {sizes}; draw both for one image size")
    if ignored is not None:
        roi_mask = ~ignored if roi_mask is None else roi_mask & ~ignored
    assert roi_mask is not None
    if not roi_mask.any():
        raise DataError(f"'{include or ignore}' leaves nothing to look at; check that the right parts are white")
    return roi_mask


def fitted_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at an image's ``(height, width)``.

    Raises:
        DataError: at this size nothing of it is left.
    """
    resized = mask if mask.shape == size else resize_mask(mask, size)
    if not resized.any():
        raise DataError(f"the region of interest vanishes in an image of {size[1]}x{size[0]} pixels; make it larger")
    return resized


def blanked(images_B3HW: "Tensor", mask: NDArray[np.bool_] | None) -> "Tensor":
    """Images in [0, 1] with `BLANK` wherever nothing counts."""
    import torch  # here, because exported detectors use the masks without it

    if mask is None:
        return images_B3HW
    height, width = images_B3HW.shape[-2:]
    inside_HW = torch.from_numpy(fitted_mask(mask, (height, width))).to(images_B3HW.device)
    return torch.where(inside_HW, images_B3HW, BLANK)


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """The mask as a PNG of one bit a pixel, at most `STORED_SIDE` pixels a side."""
    height, width = (min(side, STORED_SIDE) for side in mask.shape)
    file = io.BytesIO()
    Image.fromarray(fitted_mask(mask, (height, width))).save(file, "PNG")
    return file.getvalue()


def read_stored_mask(path: Path) -> NDArray[np.bool_]:
    """Read back what `mask_png` made.

    Raises:
        DataError: it is something else, or damaged.
    """
    if max(image_size(path)) > STORED_SIDE:
        raise DataError(f"'{path}' has more than {STORED_SIDE} pixels a side, so vtadl did not write it; restore it")
    mask = read_mask(path, None)
    if not mask.any():
        raise DataError(f"'{path}' leaves nothing to look at, so vtadl did not write it; restore it")
    return mask


def _read(path: Path) -> NDArray[np.bool_]:
    return _read_polygons(path) if path.suffix.lower() == ".json" else read_mask(path, None)


def _read_polygons(path: Path) -> NDArray[np.bool_]:
    expected = 'expected {"width": W, "height": H, "polygons": [[[x, y], [x, y], [x, y]], ...]}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read polygons from '{path}': {error}; {expected}") from error
    try:
        width, height = (_side(content[name], name) for name in ("width", "height"))
        polygons = [polygon_of(points) for points in content["polygons"]]
        if not polygons or width * height > MAX_PIXELS:
            raise ValueError(f"{len(polygons)} polygons in {width}x{height} pixels")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"'{path}' holds no polygons: {error!r}; {expected}") from error
    picture = Image.new("1", (width, height))
    draw = ImageDraw.Draw(picture)
    for points in polygons:
        draw.polygon(points.ravel().tolist(), fill=1)
    return np.asarray(picture)


def _side(value: Any, name: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_PIXELS:
        raise ValueError(f"{name} is {str(value)[:40]}")
    return value
