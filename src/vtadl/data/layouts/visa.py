"""VisA: an object's folder beside ``split_csv/``, which says what each image is.

Source: Y. Zou et al., SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation, ECCV
2022, and its ``split_csv/1cls.csv``.
"""

from pathlib import Path

from vtadl.data.layouts.category import GOOD, Category, Sample, Split, folder_name
from vtadl.data.layouts.files import Found
from vtadl.data.layouts.tables import read_csv
from vtadl.errors import DataError

TABLES = "split_csv"
"""The folder of tables, beside those of the objects."""
_COLUMNS = ("object", "split", "label", "image", "mask")
_LABELS = {"normal": GOOD, "anomaly": "anomaly"}


def has_visa(root: Path) -> Found:
    """Whether ``split_csv/`` lies beside the folder, and is not itself the folder."""
    if _table(root) is not None and folder_name(root) != TABLES:
        return True
    if (root / "Data" / "Images").is_dir():
        return "VisA (Data/Images/ is there, but no split_csv/1cls.csv beside the folder)"
    return False


def read_visa(root: Path) -> Category:
    """The images that the table lists for the object of the folder's name."""
    table = _table(root)
    assert table is not None, "only what has_visa takes"
    masks = root / "Data" / "Masks"
    return Category(
        root=root,
        layout="visa",
        samples=tuple(_samples(root, table)),
        mask_folder=masks if masks.is_dir() else None,
    )


def _table(root: Path) -> Path | None:
    tables = sorted((_beside(root) / TABLES).glob("*.csv"))
    return next((table for table in tables if table.name == "1cls.csv"), tables[0] if tables else None)


def _samples(root: Path, table: Path) -> list[Sample]:
    rows = read_csv(table, _COLUMNS)
    name = folder_name(root)
    own = [row for row in rows if row["object"] == name]
    if not own:
        objects = ", ".join(sorted({row["object"] for row in rows}))
        raise DataError(f"'{table}' lists no object '{name}'; expected a folder named as one of: {objects}")
    samples = []
    for number, row in enumerate(own, start=1):
        label = _LABELS.get(row["label"])
        split: Split = "train" if row["split"] == "train" else "test"
        if label is None or split != row["split"] or (split == "train" and label != GOOD):
            raise DataError(
                f"'{table}', row {number} of '{name}': split '{row['split']}' with label '{row['label']}'; "
                "expected train,normal or test,normal or test,anomaly"
            )
        path = _beside(root) / row["image"]
        samples.append(Sample(path=path, split=split, label=label, mask=_mask(root, row, label)))
    return samples


def _mask(root: Path, row: dict[str, str], label: str) -> Path | None:
    if label == GOOD or not (root / "Data" / "Masks").is_dir():
        return None
    if row["mask"]:
        return _beside(root) / row["mask"]
    return root / "Data" / "Masks" / "Anomaly" / f"{Path(row['image']).stem}.png"


def _beside(root: Path) -> Path:
    return root.absolute().parent if root.name in ("", "..") else root.parent
