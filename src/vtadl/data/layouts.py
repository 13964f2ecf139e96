"""Folders of one product and what is in them: MVTec, BTAD, VisA, plain good/bad, a bare folder of good images."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vtadl.data.hashing import content_hash, select_by_content
from vtadl.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
GOOD = "good"

_EXPECTED = (
    "train/good (MVTec), train/ok (BTAD), good/ and bad/, images of good parts in the folder itself, "
    "or an object's folder beside split_csv/ (VisA)"
)
_VISA_COLUMNS = ("object", "split", "label", "image", "mask")
_VISA_LABELS = {"normal": GOOD, "anomaly": "anomaly"}

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image, what it is for, and what it shows."""

    path: Path
    split: Split
    label: str
    """``good`` or the type of defect."""
    mask: Path | None = None
    """Where the mask of a defective image is, or should be if it is missing; ``None`` in sets without masks."""

    @cached_property
    def sha256(self) -> str:
        """Content hash of the image, in hexadecimal; read once.

        Raises:
            DataError: the file cannot be read.
        """
        return content_hash(self.path)

    @property
    def is_defective(self) -> bool:
        """Whether the image shows anything but a good part."""
        return self.label != GOOD


@dataclass(frozen=True, kw_only=True)
class Category:
    """The images of one product, in natural order of their paths (``2.png`` before ``10.png``)."""

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    roi_mask: NDArray[np.bool_] | None = field(default=None, compare=False)
    """Region of interest (`vtadl.data.roi`); ``None``: all of every image counts."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return _name(self.root)

    @property
    def train(self) -> tuple[Sample, ...]:
        """Good images to learn from."""
        return self._of("train")

    @property
    def validation(self) -> tuple[Sample, ...]:
        """Good images that the layout itself holds out of training."""
        return self._of("validation")

    @property
    def test(self) -> tuple[Sample, ...]:
        """Good and defective images for evaluation alone."""
        return self._of("test")

    def relative(self, path: Path) -> str:
        """A path as messages and tables show it: from the folder on, or whole where it lies elsewhere."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def _of(self, split: Split) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.split == split)


def read_category(root: Path) -> Category:
    """Recognise the layout of a folder and list its images; no image is opened.

    In a plain layout with defective images, a fifth of the good ones, chosen by the content of the files, becomes
    test images: an evaluation needs good parts that training has not seen.

    Raises:
        DataError: the folder is missing, cannot be listed, or matches no layout.
    """
    root = Path(root)
    if not root.is_dir():
        found = "is a file" if root.is_file() else "does not exist"
        raise DataError(f"'{root}' {found}; expected the folder of one product, with {_EXPECTED}")
    try:
        layout, samples = _recognise(root)
    except OSError as error:
        raise DataError(f"cannot list '{error.filename}': {error.strerror}; check its permissions") from error
    samples.sort(key=lambda sample: _natural(sample.path))
    return Category(root=root, layout=layout, samples=tuple(samples))


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Image files by suffix among files and folders (searched recursively), in natural order, each once.

    Raises:
        DataError: a path does not exist, is a file with another suffix, or is a folder without images.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            images = [file for file in path.rglob("*") if _is_image(file)]
            if not images:
                raise DataError(f"'{path}' holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
            found.update(images)
        elif not path.exists():
            raise DataError(f"'{path}' does not exist; expected an image or a folder of images")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(f"'{path}' is no image by its name; expected one of {', '.join(IMAGE_SUFFIXES)}")
        else:
            found.add(path)
    return sorted(found, key=_natural)


def mask_folder(category: Category) -> Path | None:
    """The folder in which a category keeps its masks; ``None`` where it has no such folder."""
    names = {"mvtec": "ground_truth", "btad": "ground_truth", "plain": "masks", "visa": "Data/Masks"}
    if category.layout not in names:
        return None
    folder = category.root / names[category.layout]
    return folder if folder.is_dir() else None


def empty_folders(category: Category) -> list[Path]:
    """Folders of a class that hold no images: the innermost ones under the layout's own names."""
    if category.layout in ("visa", "bare"):
        return []
    tops = [category.root / name for name in ("train", "validation", "test", "good", "bad")]
    folders = [path for top in tops if top.is_dir() for path in (top, *top.rglob("*")) if path.is_dir()]
    return [folder for folder in folders if not _folders(folder) and not _images(folder) and not _hidden(folder)]


def _recognise(root: Path) -> tuple[str, list[Sample]]:
    if (root / "train" / "good").is_dir() or (root / "test" / "good").is_dir():
        return "mvtec", _split_folders(root, good="good", mask_ending="_mask")
    if (root / "train" / "ok").is_dir():
        return "btad", _split_folders(root, good="ok", mask_ending="")
    if (root / "good").is_dir():
        return "plain", _plain(root)
    table = _visa_table(root)
    if table is not None:
        return "visa", _visa(root, table)
    if images := _images(root):
        return "bare", [Sample(path=path, split="train", label=GOOD) for path in images]
    raise DataError(_no_layout(root))


def _split_folders(root: Path, good: str, mask_ending: str) -> list[Sample]:
    splits: tuple[Split, ...] = ("train", "validation")
    samples = [Sample(path=path, split=split, label=GOOD) for split in splits for path in _images(root / split / good)]
    for folder in _folders(root / "test"):
        if folder.name == good:
            samples += [Sample(path=path, split="test", label=GOOD) for path in _images(folder)]
        else:
            samples += _defective(folder, folder.name, root / "ground_truth", mask_ending)
    return samples


def _plain(root: Path) -> list[Sample]:
    good = [Sample(path=path, split="train", label=GOOD) for path in _images(root / "good")]
    bad = root / "bad"
    samples = _defective(bad, "bad", root / "masks", subfolder=".")
    for folder in _folders(bad):
        if folder.name == GOOD:
            raise DataError(f"'{folder}' is a type of defect named 'good'; rename the folder or move it out of bad/")
        samples += _defective(folder, folder.name, root / "masks")
    # At least one, but never the only one: training comes first.
    share = max(1, (len(good) + 2) // 5) if samples and len(good) > 1 else 0
    tested = select_by_content(good, share, lambda sample: sample.sha256) if share else frozenset()
    return samples + [replace(sample, split="test") if sample in tested else sample for sample in good]


def _defective(
    folder: Path, label: str, masks: Path, mask_ending: str = "", subfolder: str | None = None
) -> list[Sample]:
    has_masks = masks.is_dir()
    masks = masks / (label if subfolder is None else subfolder)
    by_stem = {mask.stem: mask for mask in reversed(_images(masks))}

    def mask_of(path: Path) -> Path | None:
        expected = masks / f"{path.stem}{mask_ending}.png"
        return by_stem.get(f"{path.stem}_mask", by_stem.get(path.stem, expected)) if has_masks else None

    return [Sample(path=path, split="test", label=label, mask=mask_of(path)) for path in _images(folder)]


def _visa_table(root: Path) -> Path | None:
    tables = sorted((_beside(root) / "split_csv").glob("*.csv"))
    return next((table for table in tables if table.name == "1cls.csv"), tables[0] if tables else None)


def _visa(root: Path, table: Path) -> list[Sample]:
    rows = list(_visa_rows(table))
    own = [row for row in rows if row["object"] == _name(root)]
    if not own:
        objects = ", ".join(sorted({row["object"] for row in rows}))
        raise DataError(f"'{table}' lists no object '{_name(root)}'; expected a folder named as one of: {objects}")
    samples = []
    for number, row in enumerate(own, start=1):
        label = _VISA_LABELS.get(row["label"])
        split: Split = "train" if row["split"] == "train" else "test"
        if label is None or split != row["split"] or (split == "train" and label != GOOD):
            raise DataError(
                f"'{table}', row {number} of '{_name(root)}': split '{row['split']}' with label '{row['label']}'; "
                "expected train,normal or test,normal or test,anomaly"
            )
        path = _beside(root) / row["image"]
        samples.append(Sample(path=path, split=split, label=label, mask=_visa_mask(root, row, label)))
    return samples


def _visa_mask(root: Path, row: dict[str, str], label: str) -> Path | None:
    if label == GOOD or not (root / "Data" / "Masks").is_dir():
        return None
    if row["mask"]:
        return _beside(root) / row["mask"]
    return root / "Data" / "Masks" / "Anomaly" / f"{Path(row['image']).stem}.png"


def _beside(root: Path) -> Path:
    return root.absolute().parent if root.name in ("", "..") else root.parent


def _visa_rows(table: Path) -> Iterator[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(_VISA_COLUMNS) <= set(reader.fieldnames or ()):
                raise DataError(
                    f"'{table}' has columns {','.join(reader.fieldnames or ())}; expected {','.join(_VISA_COLUMNS)}"
                )
            for row in reader:
                yield {column: (row[column] or "").strip() for column in _VISA_COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{table}' is not a CSV table in UTF-8: {error}") from error


def _no_layout(root: Path) -> str:
    folders = _folders(root)
    categories = [f.name for f in folders if any((f / known).is_dir() for known in ("train/good", "train/ok", "good"))]
    if categories:
        return f"'{root}' holds categories ({_some(categories)}); name one of them, such as '{root / categories[0]}'"
    found = [f"{folder.name}/" for folder in folders] + [file.name for file in root.iterdir() if file.is_file()]
    return f"'{root}' matches no known layout: found {_some(found) or 'nothing'}; expected {_EXPECTED}"


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir() and not _hidden(path)), key=_natural)


def _images(folder: Path) -> list[Path]:
    return sorted(filter(_is_image, folder.iterdir()), key=_natural) if folder.is_dir() else []


def _is_image(path: Path) -> bool:
    # Hidden files named like images are a file manager's own, such as ._000.png of macOS.
    return path.suffix.lower() in IMAGE_SUFFIXES and not _hidden(path) and path.is_file()


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _name(root: Path) -> str:
    return root.name if root.name not in ("", "..") else root.resolve().name


def _natural(path: Path) -> tuple[list[str | int], str]:
    # Splitting at digits alternates text and numbers, so that like is compared with like.
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)], str(path)
