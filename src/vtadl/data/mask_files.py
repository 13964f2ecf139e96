"""Masks on disk: a picture, a folder of several pictures of one image, or polygons in JSON."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from vtadl.data.annotations import annotated_values
from vtadl.data.decoding import UPRIGHT, opened, orientation, wide_by_high
from vtadl.data.images import read_image
from vtadl.data.walk import DRAWINGS
from vtadl.errors import DataError

CONFIG_FILE = "defects_config.json"
"""Of MVTec LOCO AD: what the masks of a category are worth (`vtadl.data.loco_regions`)."""


def read_mask(path: Path, image_size: tuple[int, int] | None, image: Path | None = None) -> NDArray[np.bool_]:
    """Read a mask: any pixel that is not black is defective; `vtadl.data.masks` says what looks wrong about one.

    What is transparent is not defective. Where all is of one colour and some of it transparent, what is not is
    defective, whatever the colour.

    Args:
        path: a mask in a lossless format, a folder with several of one image, of which any may mark a pixel, or
            polygons in JSON (`vtadl.data.annotations`).
        image_size: height and width of its image, which the mask must have too; ``None`` leaves that unchecked.
        image: path of its image, which tells a file of many images what to draw.

    Returns:
        ``(H, W)``, true where defective.

    Raises:
        DataError: as `read_image`; the mask is a JPEG, or of another size than its image; the folder is empty.
    """
    values = read_mask_values(Path(path), image_size, image)
    found: NDArray[np.bool_] = values != 0
    return found


def read_mask_values(path: Path, image_size: tuple[int, int] | None, image: Path | None = None) -> NDArray[Any]:
    """As `read_mask`, but what the pixels hold: 0 where nothing is defective, another number for each colour.

    Returns:
        ``(H, W)``, numbers of some type; of a grey mask those of the file.
    """
    if path.is_dir():
        layers = [_mask_values(part) for part in mask_parts(path)]
        if len({layer.shape for layer in layers}) > 1:
            raise DataError(f"the masks in '{path}' are of several sizes; draw each at the image's own size")
        values = layers[0] if len(layers) == 1 else np.any([layer != 0 for layer in layers], axis=0)
    elif path.suffix.lower() == DRAWINGS:
        values = annotated_values(path, path if image is None else image, image_size)
    else:
        values = _mask_values(path)
    check_mask_size(path, values, image_size)
    return values


def mask_parts(folder: Path) -> list[Path]:
    """The masks of one image that are in a folder.

    Raises:
        DataError: there are none.
    """
    parts = sorted(part for part in folder.iterdir() if part.is_file() and not part.name.startswith("."))
    if not parts:
        raise DataError(f"'{folder}' holds no mask; expected the masks of one image")
    return parts


def check_mask_size(path: Path, values: NDArray[Any], image_size: tuple[int, int] | None) -> None:
    """Hold a mask ``(H, W)`` against its image's height and width, where they are known.

    Raises:
        DataError: the sizes differ.
    """
    if image_size is not None and values.shape != image_size:
        turned = values.shape == image_size[::-1]
        raise DataError(
            f"mask '{path}' is {wide_by_high(values.shape[::-1])} but its image is {wide_by_high(image_size[::-1])}; "
            + (
                "a quarter turn would explain it: is it drawn on the photo as stored, before its EXIF orientation "
                * turned
            )
            + ("turns it upright? " * turned)
            + "draw it at the image's own size"
        )


def _mask_values(path: Path) -> NDArray[Any]:
    with opened(path) as image:
        if isinstance(image, JpegImageFile):
            raise DataError(f"mask '{path}' is a JPEG, whose compression blurs its edges; save it as PNG")
        turn = orientation(image)
        image.load()
        if image.mode in ("1", "L") or image.mode.startswith(("I", "F")):
            values = np.asarray(image)
            if values.dtype.kind == "f" and np.isnan(values).any():
                raise DataError(f"mask '{path}' holds NaN; expected 0 where nothing is defective")
            return UPRIGHT[turn](values) if turn in UPRIGHT else values
        if image.mode == "P" and (numbers := _ambiguous_numbers(image)) is not None:
            return UPRIGHT[turn](numbers) if turn in UPRIGHT else numbers
        has_alpha = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
        alpha = np.asarray(image.convert("RGBA"))[:, :, 3] if has_alpha else None
    colours = read_image(path).astype(np.int64)
    values = (colours[:, :, 0] << 32) | (colours[:, :, 1] << 16) | colours[:, :, 2]
    grey = (colours[:, :, 0] == colours[:, :, 1]).all() and (colours[:, :, 1] == colours[:, :, 2]).all()
    values = colours[:, :, 0] if grey else values
    if alpha is None or alpha.min() == alpha.max():
        return values
    alpha = UPRIGHT[turn](alpha) if turn in UPRIGHT else alpha
    visible = values[alpha > 0]
    return alpha if visible.min() == visible.max() else np.where(alpha > 0, values, 0)


def _ambiguous_numbers(image: Image.Image) -> NDArray[Any] | None:
    """The numbers of a palette's pixels, where two of them show one colour, as where a palette was never filled in."""
    numbers = np.asarray(image)
    colours = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    used = np.unique(numbers)
    shown = {tuple(colours[number].tolist()) if number < len(colours) else (0, 0, 0) for number in used}
    return numbers if len(shown) < len(used) and "transparency" not in image.info else None
