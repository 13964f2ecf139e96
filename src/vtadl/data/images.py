"""Decoding images: from a file, or from whatever a caller has of one, to RGB of 8 or 16 bits."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from vtadl.data.decoding import ORIENTATION_TAG, UPRIGHT, Content, Source, opened, orientation
from vtadl.data.formats import frame_count
from vtadl.errors import DataError

# Pillow keeps eight bits of a 16-bit colour channel, the byte that its raw mode points at. Decoding once more with the
# opposite byte order gives the other byte.
_LOW_BYTE = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B" if np.little_endian else "RGB;16L",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGBA;16N": "RGBA;16B" if np.little_endian else "RGBA;16L",
}


def read_image(path: Source) -> NDArray[Any]:
    """Decode an image, upright by its EXIF orientation.

    Grey and palette images become RGB. Alpha is dropped, so a pixel has the colour that is stored, not one blended
    with a background. Sources of 16 bits a channel keep them (but 16-bit grey with alpha is read at 8 bits); 32-bit
    integers must fit into 16 bits, and floating-point values must lie in 0..1, which becomes 0..65535.

    Returns:
        ``(H, W, 3)``, uint8 or uint16.

    Raises:
        DataError: the file is missing, unreadable, no image, damaged, holds several pictures, or has more than
            `MAX_PIXELS`.
    """
    with opened(path) as image:
        turn = orientation(image)
        low_byte = _LOW_BYTE.get(_raw_mode(image))
        pixels = _rgb(image, path)
    if low_byte is not None:
        with opened(path) as image:
            image.tile = [tile._replace(args=_with_raw_mode(tile.args, low_byte)) for tile in image.tile]
            pixels = (pixels.astype(np.uint16) << 8) | _rgb(image, path)
    return np.ascontiguousarray(UPRIGHT[turn](pixels) if turn in UPRIGHT else pixels)


def as_rgb(image: NDArray[Any]) -> NDArray[Any]:
    """Pixels that a caller hands over, grey ones repeated.

    Args:
        image: ``(H, W, 3)``, ``(H, W)`` or ``(H, W, 1)``, uint8 or uint16.

    Returns:
        ``(H, W, 3)``.

    Raises:
        DataError: an array of another kind, or without pixels.
    """
    shape = image.shape
    image = np.asarray(image)  # Of a matrix, no part has three axes.
    if not image.dtype.isnative:
        image = image.astype(image.dtype.newbyteorder("="))
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16) or image.size == 0:
        raise DataError(
            "expected an image of shape (H, W, 3), (H, W) or (H, W, 1), uint8 or uint16; got "
            f"{image.dtype} of shape {shape}"
        )
    return image


def pixels_of(image: Any) -> NDArray[Any]:
    """The pixels of whatever a caller has of an image.

    Args:
        image: a path; an array as `as_rgb` takes it; a Pillow image; or a file's content, as bytes or an open file.

    Returns:
        ``(H, W, 3)``, uint8 or uint16.

    Raises:
        DataError: none of these, or one that cannot be read.
    """
    if isinstance(image, np.ndarray):
        return as_rgb(image)
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return _pixels_of_pillow(image)
    if hasattr(image, "read"):
        image = image.read()
    if isinstance(image, bytes | bytearray | memoryview):
        return read_image(Content(bytes(image)))
    raise DataError(
        "expected a path, a NumPy array (H, W, 3) or (H, W) of uint8 or uint16, a Pillow image, or the bytes of an "
        f"image file; got {type(image).__module__}.{type(image).__qualname__}"
    )


def _pixels_of_pillow(image: Image.Image) -> NDArray[Any]:
    what = Path("Pillow image")
    if not image.width * image.height:
        raise DataError("the Pillow image has no pixels")
    turn = 1
    try:
        if isinstance(image, ImageFile.ImageFile) and (count := frame_count(image)) > 1:
            raise DataError(f"the Pillow image holds {count} pictures; expected one: give a copy() of each")
        if not isinstance(image, TiffImageFile):
            turn = int(image.getexif().get(ORIENTATION_TAG, 1))
        pixels = _rgb(image.copy(), what)
    except DataError:
        raise
    except (OSError, ValueError) as error:  # a file that is damaged, or closed
        raise DataError(f"the Pillow image cannot be decoded: {error}") from error
    return np.ascontiguousarray(UPRIGHT[turn](pixels) if turn in UPRIGHT else pixels)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, upright by its EXIF orientation, from the header alone.

    Raises:
        DataError: as `read_image`, as far as the header tells.
    """
    with opened(Path(path)) as image:
        width, height = image.size
        return (width, height) if orientation(image) in (5, 6, 7, 8) else (height, width)


def has_16_bits(path: Path) -> bool:
    """Whether `read_image` gives 16 bits a channel, from the header alone.

    Raises:
        DataError: as `read_image`, as far as the header tells.
    """
    with opened(path) as image:
        return image.mode.startswith(("I", "F")) or _raw_mode(image) in _LOW_BYTE


def is_turned(path: Path) -> bool:
    """Whether an image is turned or mirrored by its EXIF orientation when it is read.

    Raises:
        DataError: as `read_image`, as far as the header tells.
    """
    with opened(Path(path)) as image:
        if isinstance(image, TiffImageFile):
            return image.tag_v2.get(ORIENTATION_TAG, 1) in UPRIGHT
        return orientation(image) in UPRIGHT


def _raw_mode(image: ImageFile.ImageFile) -> str:
    arguments = image.tile[0].args if image.tile else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_raw_mode(arguments: Any, raw_mode: str) -> Any:
    return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode


def _rgb(image: Image.Image, path: Source) -> NDArray[Any]:
    """The pixels of an opened image, ``(H, W, 3)``, uint8 or uint16."""
    image.load()
    if image.mode.startswith(("I", "F")):
        grey = _uint16(np.asarray(image), path)
        return np.repeat(grey[:, :, None], 3, axis=2)
    image.info.pop("transparency", None)  # Pillow warns of colours that mark transparency; alpha is dropped anyway.
    return np.array(image.convert("RGB"))  # A copy: an array over Pillow's own memory is read-only.


def _uint16(grey: NDArray[Any], path: Source) -> NDArray[np.uint16]:
    top = 1.0 if grey.dtype.kind == "f" else 65535
    if not (grey.min() >= 0 and grey.max() <= top):  # Written so that NaN fails.
        raise DataError(
            f"'{path}' has values from {grey.min():g} to {grey.max():g}; expected 0..{top:g} in "
            f"{'floating-point' if top == 1.0 else 'integer'} images: rescale it"
        )
    return (np.rint(grey * 65535.0) if top == 1.0 else grey).astype(np.uint16)
