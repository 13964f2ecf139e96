"""Opening image files: by their first bytes, with a limit on their size, and with the file named in every error.

Pillow does the decoding, through the decoders of `vtadl.data.formats` and no other: what is none of these by its first
bytes is not opened, whatever its name says.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from vtadl.data.formats import decoder_of, frame_count
from vtadl.errors import DataError

MAX_PIXELS = 200_000_000
"""Larger images are refused before they are decoded: three bytes a pixel, and several copies, must fit in memory."""

UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}
"""What the values of the EXIF tag Orientation ask for."""
ORIENTATION_TAG = 274
_BITS_TAG, _PHOTOMETRIC_TAG, _PLANAR_TAG, _SAMPLE_FORMAT_TAG = 258, 262, 284, 339


class Content:
    """The bytes of an image file, where a path is expected."""

    suffix = ""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def open(self, _: str) -> io.BytesIO:
        """As `Path.open`."""
        return io.BytesIO(self._content)

    def __str__(self) -> str:
        return "content given as bytes"


Source = Path | Content


@contextmanager
def opened(path: Source) -> Iterator[ImageFile.ImageFile]:
    """Open the header, and name the file in whatever goes wrong until the image is closed."""
    try:
        with path.open("rb") as file:
            decoder = decoder_of(file.read(32), path)
            file.seek(0)
            with decoder(file) as image:
                _check_size(image, path)
                _check_kind(image, path)
                _check_frames(image, path)
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


def _check_size(image: ImageFile.ImageFile, path: Source) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"'{path}' is {wide_by_high(image.size)}, {width * height / 1e6:.0f} megapixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} are read: scale it down or cut it into parts"
        )


def _check_kind(image: ImageFile.ImageFile, path: Source) -> None:
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


def _check_frames(image: ImageFile.ImageFile, path: Source) -> None:
    """Refuse a file of several pictures: the others would pass unseen."""
    count = frame_count(image)
    if count > 1:
        raise DataError(
            f"'{path}' holds {count} pictures (pages of a TIFF, or frames of an animation); expected one: save each as "
            "a file of its own"
        )


def orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation that is left to be done when an opened image is read, 1 to 8; 1: nothing."""
    if isinstance(image, TiffImageFile):
        return 1  # Pillow itself turns these when it loads them.
    if isinstance(image, PngImageFile) and "exif" not in image.info:
        return 1  # Asking Pillow would decode the whole file in search of a misplaced chunk.
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # Damaged EXIF does not make the pixels unusable.
        return 1


def wide_by_high(size: tuple[int, ...]) -> str:
    """As messages give a size."""
    return f"{size[0]}x{size[1]}"
