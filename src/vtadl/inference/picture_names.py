"""What the pictures of an image are called: as the image is, below its folder, where no other picture is called so."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from pathlib import Path

from vtadl.runs.files import shortened

LONGEST_ENDING = len(".partial.tiff")


def picture_names(
    files: Sequence[Path], among: Sequence[Path], inputs: Sequence[Path], taken: Collection[str]
) -> dict[Path, Path]:
    """A name for the pictures of each file, without their suffix.

    It is the file's place in its input folder, without its suffix. Where another file would have the same, the suffix
    is added; where that is the same too, as in two folders of equal names, the folder's name; then a number. A name
    that is too long for a file system ends in a hash.

    Args:
        files: to name.
        among: all files of the inputs, these among them.
        inputs: files and folders.
        taken: pictures that are there, as rows name them.
    """
    places = {file: relative_name(file, inputs) for file in among}
    plain, wholes = Counter(place.with_suffix("") for place in places.values()), Counter(places.values())
    used, names = {_stem(picture) for picture in taken}, {}
    for file in files:
        place = places[file]
        first = 0 if plain[place.with_suffix("")] == 1 else 1 if wholes[place] == 1 else 2
        for number, name in enumerate(_candidates(file, place, inputs)):
            name = Path(*(shortened(part, LONGEST_ENDING) for part in name.parts))
            if number >= first and name.as_posix() not in used:
                used.add(name.as_posix())
                names[file] = name
                break
    return names


def relative_name(file: Path, inputs: Sequence[Path]) -> Path:
    """A file's place in the input folder that it came from."""
    folder = _folder(file, inputs)
    return Path(file.name) if folder is None else file.relative_to(folder)


def _candidates(file: Path, place: Path, inputs: Sequence[Path]) -> Iterator[Path]:
    yield place.with_suffix("")
    yield place
    folder = _folder(file, inputs) or file.parent
    place = Path(folder.absolute().name, place)
    yield place
    for number in count(2):
        yield place.with_name(f"{place.stem}-{number}{place.suffix}")


def _folder(file: Path, inputs: Sequence[Path]) -> Path | None:
    return next((folder for folder in inputs if folder != file and file.is_relative_to(folder)), None)


def _stem(picture: str) -> str:
    """``overlays/a/b.png`` is a picture of ``a/b``."""
    return Path(*Path(picture).parts[1:]).with_suffix("").as_posix()
