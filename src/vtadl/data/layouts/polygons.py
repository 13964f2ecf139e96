"""Finding the polygons that labelme or COCO hold for a set's defective images."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtadl.data.annotations import Annotated, Annotations, OtherJsonError, read_annotations
from vtadl.data.layouts.category import Category, Sample
from vtadl.data.walk import DRAWINGS
from vtadl.errors import DataError

_PLACES = (".", "ground_truth", "masks", "annotations", "test", "bad")

NO_MASKS = "no masks are read"
"""What a line on masks that are not found begins with."""


def drawings_in(folders: Iterable[Path]) -> list[Annotations]:
    """The files of annotations that lie in some folders themselves; other JSON is passed over.

    Raises:
        DataError: one cannot be read.
    """
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob(f"*{DRAWINGS}"))]
    return [found for file in files if (found := drawings_of(file)) is not None]


def drawings_of(file: Path) -> Annotations | None:
    """A file of annotations; ``None`` of other JSON.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return read_annotations(file)
    except OtherJsonError:
        return None


def with_drawings(category: Category) -> Category:
    """The category with polygons for the defective images that have no mask of their own.

    A COCO file is looked for in the folder, in ``ground_truth``, ``masks``, ``annotations``, ``test`` and ``bad``, and
    beside the images. Where one has any of a set's images, an image that it does not name is an error when it is read.

    Raises:
        DataError: a file cannot be read, or two say different things of an image; or two images fit one entry, so that
            it is not known which of them is drawn on.
    """
    without = [s for s in category.samples if s.is_defective and (s.mask is None or not s.mask.exists())]
    if not without:
        return category
    places = dict.fromkeys([category.root / name for name in _PLACES] + [sample.path.parent for sample in without])
    drawings = [one for one in drawings_in(places) if one.images is not None]
    found = {s: _only([one for one in drawings if one.entry(s.path) is not None], s.path) for s in without}
    named = [one for one in found.values() if one is not None]
    if not named:
        return replace(category, notes=(*category.notes, *_unfitting(drawings, category)))
    _check_once(found)
    masks = {sample: (named[0] if one is None else one).path for sample, one in found.items()}
    return replace(category, samples=tuple(replace(s, mask=masks[s]) if s in masks else s for s in category.samples))


def _only(annotations: list[Annotations], image: Path) -> Annotations | None:
    for other in annotations[1:]:
        first, second = annotations[0].entry(image), other.entry(image)
        if first is not None and second is not None and _shapes(first) != _shapes(second):
            raise DataError(f"'{annotations[0].path}' and '{other.path}' both draw on '{image}', and differ; keep one")
    return annotations[0] if annotations else None


def _shapes(entry: Annotated) -> list[Any]:
    return [shape.get("segmentation") for shape in entry.shapes]


def _unfitting(drawings: list[Annotations], category: Category) -> list[str]:
    """A line on a file of drawings that is of no image of a category."""
    of_none = [one for one in drawings if one.first and not any(one.is_of(s.path) for s in category.samples)]
    return [
        f"{NO_MASKS}: '{one.path}' names '{one.first}', and no image here lies there; write each file_name as "
        f"'{category.relative(category.test[0].path)}' is"
        for one in of_none[:1]
    ]


def _check_once(found: dict[Sample, Annotations | None]) -> None:
    taken: dict[tuple[Path, str], Path] = {}
    for sample, annotations in found.items():
        entry = None if annotations is None else annotations.entry(sample.path)
        if annotations is None or entry is None:
            continue
        other = taken.setdefault((annotations.path, str(entry.name)), sample.path)
        if other != sample.path:
            raise DataError(
                f"'{annotations.path}' names '{entry.name}', which may be '{other}' or '{sample.path}'; give each "
                "file_name the folder too, such as test/scratch/000.png"
            )
