"""A list of images, CSV or Parquet: ``image,label,mask,split``, of which the last two may be missing."""

import os.path
from dataclasses import replace
from pathlib import Path

from vtadl.data.formats import IMAGE_SUFFIXES
from vtadl.data.layouts.category import GOOD, GOOD_NAMES, Category, Sample, Split
from vtadl.data.layouts.files import Found, some, with_share_tested
from vtadl.data.layouts.tables import Row, head_of, read_csv, read_parquet
from vtadl.errors import DataError, DependencyError

SUFFIXES = (".csv", ".tsv", ".parquet")
COLUMNS, OPTIONAL = ("image", "label"), ("mask", "split")
_NEARLY_IMAGE = frozenset(("image", "image_path", "filename", "file_name", "file", "path", "img"))
_GOOD_LABELS = GOOD_NAMES | {"0", "0.0", "false"}
_SPLITS: dict[str, Split] = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"validation": "validation", "val": "validation", "valid": "validation"},
}


def has_list(root: Path) -> Found:
    """Whether the file is a list, or the folder holds one."""
    if root.is_file():
        return root.suffix.lower() in SUFFIXES
    tables = _tables(root)
    for table in tables:
        try:
            names, *first = head_of(table) or [[]]
        except DependencyError:
            return True  # Reading it says what is missing.
        if set(COLUMNS) <= set(names):
            return True
        values = [*names, *(value for row in first for value in row)]
        if set(names) & _NEARLY_IMAGE or any(value.lower().endswith(IMAGE_SUFFIXES) for value in values):
            return f"a list of images ('{table.name}' has columns {some(names)}; expected {','.join(COLUMNS)})"
    return False


def read_list(root: Path) -> Category:
    """The images that a list names; without splits, a fifth of the good ones is tested, chosen by content.

    Args:
        root: the list, or the folder that holds it. Its paths start from where it lies.

    Raises:
        DataError: several lists, a column that is missing, or a row that cannot be.
    """
    table = root if root.is_file() else _only(root)
    rows = (read_parquet if table.suffix.lower() == ".parquet" else read_csv)(table, COLUMNS, OPTIONAL)
    folder = table.parent
    has_masks = any(row["mask"] for row in rows)
    samples = [_sample(table, number, row, has_masks) for number, row in enumerate(rows, start=1)]
    _check(table, rows, samples)
    own_split = any(row["split"] for row in rows)
    if not own_split:
        good = [sample for sample in samples if not sample.is_defective]
        bad = [replace(sample, split="test") for sample in samples if sample.is_defective]
        samples = [*bad, *(with_share_tested(good) if bad else good)]
    return Category(
        root=folder,
        layout="list",
        samples=tuple(samples),
        own_split=own_split,
        # Where no image is listed with its mask, masks of good ones may be, which are not needed.
        known=frozenset((table, *(_path(table, row["mask"]) for row in rows if row["mask"]))),
    )


def _tables(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _only(root: Path) -> Path:
    lists = [table for table in _tables(root) if set(COLUMNS) <= set((head_of(table) or [[]])[0])]
    if len(lists) > 1:
        names = some([one.name for one in lists])
        raise DataError(f"'{root}' holds several lists of images ({names}); give one of them in place of the folder")
    return lists[0]


def _sample(table: Path, number: int, row: Row, has_masks: bool) -> Sample:
    label = GOOD if row["label"].casefold() in _GOOD_LABELS else row["label"]
    split = _SPLITS.get(row["split"].casefold(), "train" if not row["split"] else None)
    if not row["image"] or not label or split is None:
        raise DataError(
            f"'{table}', row {number}: image '{row['image']}', label '{row['label']}', split '{row['split']}'; "
            "expected a path, good or a type of defect, and train, validation or test"
        )
    if row["split"] and split != "test" and label != GOOD:
        raise DataError(
            f"'{table}', row {number}: '{row['image']}' is '{label}' and for {split}; only good images are learned "
            "from: make it test"
        )
    path = _path(table, row["image"])
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"'{table}', row {number}: '{row['image']}' is no image by its name")
    mask = None
    if label != GOOD and has_masks:
        mask = _path(table, row["mask"]) if row["mask"] else path.with_name(f"{path.stem}_mask.png")
    return Sample(path=path, split=split, label=label, mask=mask)


def _path(table: Path, text: str) -> Path:
    """A path of a list, from the list's folder on; one written on Windows is read elsewhere too."""
    path = table.parent / text
    return path if path.exists() or "\\" not in text else table.parent / text.replace("\\", "/")


def _check(table: Path, rows: list[Row], samples: list[Sample]) -> None:
    if not samples:
        raise DataError(f"'{table}' lists no image; expected a row for each: {','.join((*COLUMNS, *OPTIONAL))}")
    seen: dict[str, int] = {}
    for number, (row, sample) in enumerate(zip(rows, samples, strict=True), start=1):
        place = os.path.normpath(sample.path)
        if seen.setdefault(place, number) != number:
            raise DataError(f"'{table}' lists '{row['image']}' twice, in rows {seen[place]} and {number}")
    split = [bool(row["split"]) for row in rows]
    if any(split) and not all(split):
        raise DataError(
            f"'{table}', row {split.index(False) + 1} has no split, and others do; give every row one, or none"
        )
