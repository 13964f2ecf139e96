"""Images among files and folders that are given to predict."""

from collections.abc import Callable, Iterable
from pathlib import Path

from vtadl.data.formats import IMAGE_SUFFIXES
from vtadl.data.layouts.files import natural
from vtadl.data.walk import LeftOut, walk
from vtadl.errors import DataError


def find_images(paths: Iterable[Path], say: Callable[[str], None] | None = None) -> list[Path]:
    """Image files by suffix among files and folders (searched as `vtadl.data.walk` does), in natural order, each once.

    ``say`` gets one line on the files of the folders that were left out, where there are any.

    Raises:
        DataError: a path does not exist, cannot be listed, is a file with another suffix, or is a folder without
            images.
    """
    found: dict[Path, Path] = {}
    left_out = LeftOut()
    for path in map(Path, paths):
        if path.is_dir():
            for image in _images_of(path, left_out):
                found.setdefault(image.absolute(), image)
        elif not path.exists():
            raise DataError(f"'{path}' does not exist; expected an image or a folder of images")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(f"'{path}' is no image by its name; expected one of {', '.join(IMAGE_SUFFIXES)}")
        else:
            found.setdefault(path.absolute(), path)
    line = left_out.line()
    if say is not None and line is not None:
        say(line)
    return sorted(found.values(), key=natural)


def _images_of(folder: Path, left_out: LeftOut) -> list[Path]:
    try:
        images = list(walk(folder, left_out))
    except OSError as error:
        raise DataError(f"cannot list '{folder}': {error.strerror}; check its permissions") from error
    if not images:
        line = left_out.line()
        raise DataError(
            f"'{folder}' holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES[:9])}"
            + (f" ({line})" if line else "")
        )
    return images
