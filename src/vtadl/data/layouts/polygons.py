"""Finding the polygons that labelme or COCO hold for a set's defective images."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vtadl.data.annotations import Annotations, read_annotations
from vtadl.data.layouts.category import Category, Sample
from vtadl.data.walk import DRAWINGS
from vtadl.errors import DataError

_PLACES = (".", "ground_truth", "masks", "annotations", "test", "bad")


def drawings_in(folders: Iterable[Path]) -> list[Annotations]:
    """The files of annotations that lie in some folders themselves; other JSON is passed over."""
    found = []
    for folder in folders:
        files = sorted(folder.glob(f"*{DRAWINGS}")) if folder.is_dir() else []
        for file in files:
            try:
                found.append(read_annotations(file))
            except DataError:
                continue
    return found


def with_drawings(category: Category) -> Category:
    """The category with polygons for the defective images that have no mask of their own.

    A COCO file is looked for in the folder, in ``ground_truth``, ``masks``, ``annotations``, ``test`` and ``bad``, and
    beside the images. Where one has any of a set's images, an image that it does not name is an error when it is read.

    Raises:
        DataError: two images fit one entry, so that it is not known which of them is drawn on.
    """
    without = [s for s in category.samples if s.is_defective and (s.mask is None or not s.mask.exists())]
    if not without:
        return category
    places = dict.fromkeys([category.root / name for name in _PLACES] + [sample.path.parent for sample in without])
    drawings = [one for one in drawings_in(places) if one.images is not None]
    found = {s: next((one for one in drawings if one.entry(s.path) is not None), None) for s in without}
    named = [one for one in found.values() if one is not None]
    if not named:
        return category
    _check_once(found)
    masks = {sample: (named[0] if one is None else one).path for sample, one in found.items()}
    return replace(category, samples=tuple(replace(s, mask=masks[s]) if s in masks else s for s in category.samples))


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
