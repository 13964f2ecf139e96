"""Decoding images and masks, and the one way in which each is resized.

Pillow does the decoding, through the decoders of five formats and no other: what is not PNG, JPEG, BMP, TIFF or WebP
by its first bytes is not opened, whatever its name says.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vtadl.errors import DataError

MAX_PIXELS = 200_000_000
"""Larger images are refused before they are decoded: three bytes a pixel, and several copies, must fit in memory."""

_DECODERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"II+\0", TiffImageFile),
    (b"MM\0+", TiffImageFile),
    (b"RIFF", WebPImageFile),
)

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

_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}
"""What the values of the EXIF tag Orientation ask for."""
_ORIENTATION_TAG = 274
_BITS_TAG, _PHOTOMETRIC_TAG, _PLANAR_TAG, _SAMPLE_FORMAT_TAG = 258, 262, 284, 339


def read_image(path: Path) -> NDArray[Any]:
    """Decode an image, upright by its EXIF orientation; of several pages the first.

    Grey and palette images become RGB. Alpha is dropped, so a pixel has the colour that is stored, not one blended
    with a background. Sources of 16 bits a channel keep them (but 16-bit grey with alpha is read at 8 bits); 32-bit
    integers must fit into 16 bits, and floating-point values must lie in 0..1, which becomes 0..65535.

    Returns:
        ``(H, W, 3)``, uint8 or uint16.

    Raises:
        DataError: the file is missing, unreadable, no image, damaged, or has more than `MAX_PIXELS`.
    """
    path = Path(path)
    with _opened(path) as image:
        orientation = _orientation(image)
        low_byte = _LOW_BYTE.get(_raw_mode(image))
        pixels = _rgb(image, path)
    if low_byte is not None:
        with _opened(path) as image:
            image.tile = [tile._replace(args=_with_raw_mode(tile.args, low_byte)) for tile in image.tile]
            pixels = (pixels.astype(np.uint16) << 8) | _rgb(image, path)
    return np.ascontiguousarray(_UPRIGHT[orientation](pixels) if orientation in _UPRIGHT else pixels)


def as_rgb(image: NDArray[Any]) -> NDArray[Any]:
    """Pixels that a caller hands over, grey ones repeated.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)``, uint8 or uint16.

    Returns:
        ``(H, W, 3)``.

    Raises:
        DataError: an array of another kind, or without pixels.
    """
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16) or image.size == 0:
        raise DataError(
            f"expected an image of shape (H, W, 3) or (H, W), uint8 or uint16; got {image.dtype} of shape {image.shape}"
        )
    return image


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, upright by its EXIF orientation, from the header alone.

    Raises:
        DataError: as `read_image`, as far as the header tells.
    """
    with _opened(Path(path)) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)


def resize_image(image: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize to ``(height, width)`` by bilinear interpolation, antialiased when it shrinks.

    In float32 whatever the image's depth: Pillow would round eight-bit images between its two passes, which an exported
    model cannot repeat.

    Args:
        image: ``(H, W, 3)``, uint8 or uint16.
        size: height and width in pixels.

    Returns:
        ``(3, height, width)`` in [0, 1].
    """
    top = np.float32(np.iinfo(image.dtype).max)
    resized = np.empty((3, *size), np.float32)
    # Of a grey image, one channel is all there is to know.
    channels = 1 if _is_grey(image) else 3
    for channel in range(channels):
        np.divide(resize_map(image[:, :, channel], size), top, out=resized[channel])
    resized[channels:] = resized[0]
    return resized


def _is_grey(image: NDArray[Any]) -> bool:
    # Few rows tell almost every image of colours, before all are compared.
    return all(np.array_equal(rows[:, :, 0], rows[:, :, other]) for rows in (image[::16], image) for other in (1, 2))


def resize_map(anomaly_map: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize one channel by bilinear interpolation between pixel centres, antialiased when it shrinks.

    Args:
        anomaly_map: ``(H, W)``, any real type; computed in float32.
        size: height and width in pixels.

    Returns:
        ``(height, width)``, within the range of the input.
    """
    image = Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32))
    return np.array(image.resize(size[::-1], Image.Resampling.BILINEAR))


def read_mask(path: Path, image_size: tuple[int, int] | None) -> NDArray[np.bool_]:
    """Read a mask: any pixel that is not black is defective.

    Args:
        path: a mask in a lossless format.
        image_size: height and width of its image, which the mask must have too; ``None`` leaves that unchecked.

    Returns:
        ``(H, W)``, true where defective.

    Raises:
        DataError: as `read_image`; the mask is a JPEG, or of another size than its image.
    """
    path = Path(path)
    with _opened(path) as image:
        if isinstance(image, JpegImageFile):
            raise DataError(f"mask '{path}' is a JPEG, whose compression blurs its edges; save it as PNG")
    mask: NDArray[np.bool_] = np.any(read_image(path), axis=2)
    if image_size is not None and mask.shape != image_size:
        raise DataError(
            f"mask '{path}' is {_wide_by_high(mask.shape[::-1])} but its image is {_wide_by_high(image_size[::-1])}; "
            "draw it at the image's own size"
        )
    return mask


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask to ``(height, width)``: each pixel takes the value of the one under its centre; never dilated."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, mask.shape, strict=True))
    resized: NDArray[np.bool_] = mask[rows[:, None], columns]
    return resized


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open the header, and name the file in whatever goes wrong until the image is closed."""
    try:
        with path.open("rb") as file:
            decoder = _decoder(file.read(16), path)
            file.seek(0)
            with decoder(file) as image:
                _check_size(image, path)
                _check_kind(image, path)
                yield image
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"cannot read '{path}': permission denied; make the file readable") from error
    except FileNotFoundError as error:
        raise DataError(f"'{path}' does not exist; check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"'{path}' is a folder; expected an image file") from error
    except Exception as error:  # A decoder fed with damaged bytes may raise anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot decode '{path}': {reason}; the file is damaged or of a rare kind: replace it, or save it as PNG"
        ) from error


def _decoder(header: bytes, path: Path) -> type[ImageFile.ImageFile]:
    if not header:
        raise DataError(f"'{path}' is empty (zero bytes); replace or remove it")
    for magic, decoder in _DECODERS:
        if header.startswith(magic) and (magic != b"RIFF" or header[8:12] == b"WEBP"):
            return decoder
    raise DataError(f"'{path}' is not an image; expected PNG, JPEG, BMP, TIFF or WebP, whatever its name")


def _check_size(image: ImageFile.ImageFile, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"'{path}' is {_wide_by_high(image.size)}, {width * height / 1e6:.0f} megapixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} are read: scale it down or cut it into parts"
        )


def _check_kind(image: ImageFile.ImageFile, path: Path) -> None:
    """Refuse the TIFF files that Pillow decodes to wrong values without a word."""
    if not isinstance(image, TiffImageFile):
        return
    tags = image.tag_v2
    bits = tags.get(_BITS_TAG, (1,))
    kinds = {
        "signed values": bits[0] == 8 and 2 in tags.get(_SAMPLE_FORMAT_TAG, (1,)),
        "a plane for each channel": bits[0] > 8 and len(bits) > 1 and tags.get(_PLANAR_TAG) == 2,
        "white as zero": bits[0] > 8 and tags.get(_PHOTOMETRIC_TAG) == 0,
    }
    for kind, found in kinds.items():
        if found:
            raise DataError(
                f"'{path}' is a TIFF of {bits[0]} bits a channel with {kind}, not read here; save it as PNG"
            )


def _orientation(image: ImageFile.ImageFile) -> int:
    if isinstance(image, TiffImageFile):
        return 1  # Pillow itself turns these when it loads them.
    if isinstance(image, PngImageFile) and "exif" not in image.info:
        return 1  # Asking Pillow would decode the whole file in search of a misplaced chunk.
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Damaged EXIF does not make the pixels unusable.
        return 1


def _raw_mode(image: ImageFile.ImageFile) -> str:
    arguments = image.tile[0].args if image.tile else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_raw_mode(arguments: Any, raw_mode: str) -> Any:
    return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode


def _rgb(image: ImageFile.ImageFile, path: Path) -> NDArray[Any]:
    """The pixels of an opened image, ``(H, W, 3)``, uint8 or uint16."""
    image.load()
    if image.mode.startswith(("I", "F")):
        grey = _uint16(np.asarray(image), path)
        return np.repeat(grey[:, :, None], 3, axis=2)
    image.info.pop("transparency", None)  # Pillow warns of colours that mark transparency; alpha is dropped anyway.
    return np.array(image.convert("RGB"))  # A copy: an array over Pillow's own memory is read-only.


def _uint16(grey: NDArray[Any], path: Path) -> NDArray[np.uint16]:
    top = 1.0 if grey.dtype.kind == "f" else 65535
    if not (grey.min() >= 0 and grey.max() <= top):  # Written so that NaN fails.
        raise DataError(
            f"'{path}' has values from {grey.min():g} to {grey.max():g}; expected 0..{top:g} in "
            f"{'floating-point' if top == 1.0 else 'integer'} images: rescale it"
        )
    return (np.rint(grey * 65535.0) if top == 1.0 else grey).astype(np.uint16)


def _wide_by_high(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
