"""Which layout a folder has, and what is in it: one table of readers, tried in turn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vtadl.data.layouts import kolektor, mvtec, mvtec_2, mvtec_3d, plain, real_iad, visa
from vtadl.data.layouts.category import Category
from vtadl.data.layouts.files import MASK_NAMES, Found, folders_in, images_in, natural, some
from vtadl.data.layouts.image_list import has_list, read_list
from vtadl.data.layouts.polygons import NO_MASKS, with_drawings
from vtadl.data.walk import NOT_BY_NAME, LeftOut, walk
from vtadl.errors import DataError

_MASKS = {
    **dict.fromkeys(("mvtec", "mvtec-loco", "btad"), mvtec.MASKS),
    "plain": "masks",
    "mvtec-ad-2": "test_public/ground_truth",
}
"""Where a layout's masks are expected."""
OUTSIDE = "outside this layout"


class Layout(NamedTuple):
    """A way of laying out the images of one product."""

    name: str
    expected: str
    """What a folder is known by, as errors and documents say it."""
    detect: Callable[[Path], Found]
    read: Callable[[Path], Category]


LIST = Layout("list", "a CSV or Parquet list with columns image,label[,mask,split]", has_list, read_list)
LAYOUTS = (
    Layout("MVTec AD 2", "train/good and test_public/bad", mvtec_2.has_mvtec_2, mvtec_2.read_mvtec_2),
    Layout("MVTec 3D-AD", "train/good/rgb", mvtec_3d.has_mvtec_3d, mvtec_3d.read_mvtec_3d),
    Layout("MVTec AD, MVTec LOCO AD, MPDD", "train/good", mvtec.has_mvtec, mvtec.read_mvtec),
    Layout("BTAD", "train/ok", mvtec.has_btad, mvtec.read_btad),
    Layout("VisA", "an object's folder beside split_csv/", visa.has_visa, visa.read_visa),
    Layout("KolektorSDD", "kos01/Part0.jpg and kos01/Part0_label.bmp", kolektor.has_kolektor, kolektor.read_kolektor),
    Layout("KolektorSDD2", "train/10000.png and train/10000_GT.png", kolektor.has_kolektor_2, kolektor.read_kolektor_2),
    Layout(
        "Real-IAD",
        "OK/ and NG/, and realiad_jsons/ beside the images' folder",
        real_iad.has_real_iad,
        real_iad.read_real_iad,
    ),
    Layout("plain", "good/ and bad/", plain.has_plain, plain.read_plain),
    LIST,
    Layout("annotated", "images with labelme's or COCO's JSON beside them", plain.has_annotated, plain.read_annotated),
    Layout("bare", "images of good parts in the folder itself", plain.has_bare, plain.read_bare),
)


def read_category(root: Path) -> Category:
    """Recognise the layout of a folder, or of a list, and say what its images are; none is decoded but masks that tell
    good from defective.

    Raises:
        DataError: the folder is missing, cannot be listed, or matches no layout.
        DependencyError: a Parquet list, and pyarrow is missing.
    """
    root = Path(root)
    if not (root.is_dir() or (root.is_file() and has_list(root))):
        found = "is a file" if root.is_file() else "does not exist"
        raise DataError(f"'{root}' {found}; expected the folder of one product, with {_expected()}")
    try:
        category = with_drawings(_recognised(root))
        left_out = _outside(category)
    except OSError as error:
        raise DataError(f"cannot list '{error.filename}': {error.strerror}; check its permissions") from error
    if inside := category.left_out.counts[NOT_BY_NAME]:
        left_out.add(NOT_BY_NAME, Path(category.left_out.examples[NOT_BY_NAME]), inside)
    samples = sorted(category.samples, key=lambda sample: natural(sample.path))
    notes = (*category.notes, *_misnamed_masks(category))
    return replace(category, samples=tuple(samples), notes=notes, left_out=left_out)


def empty_folders(category: Category) -> list[Path]:
    """Folders of a class that hold no images."""
    return [folder for folder in category.class_folders if not images_in(folder)]


def _recognised(root: Path) -> Category:
    nearly: list[str] = []
    for layout in LAYOUTS if root.is_dir() else (LIST,):
        found = layout.detect(root)
        if found is True:
            category = layout.read(root)
            notes = [f"'{root}' is read as {layout.name}, and is nearly {near}" for near in nearly]
            return replace(category, notes=(*category.notes, *notes))
        if found:
            nearly.append(found)
    raise DataError(_no_layout(root, nearly))


def _misnamed_masks(category: Category) -> list[str]:
    """A line where a set has no masks, and a folder beside the one that is expected is named as of some."""
    expected = _MASKS.get(category.layout)
    without = any(sample.is_defective and sample.mask is None for sample in category.samples)
    if expected is None or not without or any(note.startswith(NO_MASKS) for note in category.notes):
        return []
    names = [folder.name for folder in folders_in(category.root) if folder.name.casefold() in MASK_NAMES]
    return [f"{NO_MASKS}: they are expected in {expected}/, and here is {name}/; rename it" for name in names[:1]]


def _outside(category: Category) -> LeftOut:
    """What is in a category's folder and in no part of its layout."""
    left_out, masks = LeftOut(), category.mask_folder
    used = {sample.path for sample in category.samples} | category.known
    used |= {sample.mask for sample in category.samples if sample.mask is not None}
    for path in walk(category.root, left_out):
        if path not in used and path.parent not in used and (masks is None or not path.is_relative_to(masks)):
            left_out.add(OUTSIDE, path)
    del left_out.counts[NOT_BY_NAME]  # Those between the images count, not a set's licence.
    return left_out


def _no_layout(root: Path, nearly: list[str]) -> str:
    folders = folders_in(root)
    categories = [folder.name for folder in folders if not nearly and _is_category(folder)]
    if categories:
        return f"'{root}' holds categories ({some(categories)}); name one of them, such as '{root / categories[0]}'"
    found = [f"{folder.name}/" for folder in folders] + [file.name for file in root.iterdir() if file.is_file()]
    near = f"it is nearly {' or '.join(nearly)}; " if nearly else ""
    return f"'{root}' matches no known layout: found {some(found) or 'nothing'}; {near}expected {_expected()}"


def _is_category(folder: Path) -> bool:
    """Whether a folder is laid out for certain: one with images in it may be of anything, and VisA's tables are of all
    its objects.
    """
    if folder.name == visa.TABLES:
        return False
    return any(layout.detect(folder) is True for layout in LAYOUTS if layout.name not in ("annotated", "bare"))


def _expected() -> str:
    *others, last = [f"{layout.expected} ({layout.name})" for layout in LAYOUTS]
    return f"{', '.join(others)}, or {last}"
