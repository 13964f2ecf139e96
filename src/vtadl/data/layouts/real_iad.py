"""Real-IAD: a JSON for each product, which says what the images of its five cameras are.

Source: C. Wang et al., Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile Industrial Anomaly
Detection, CVPR 2024, as its readme lays it out: ``realiad_1024/audiojack/OK/S0001/audiojack_0001_OK_C1_*.jpg`` and
``NG/<defect>/S0001/..._NG_<defect>_C1_*.jpg`` with a ``.png`` mask beside, and ``realiad_jsons/audiojack.json``:
``{"meta": {"normal_class": "OK", "prefix": "audiojack/"}, "train": [...], "test": [...]}`` with an entry for each
image: ``{"category", "anomaly_class", "image_path", "mask_path"}``, its paths from ``prefix`` on.
"""

import json
import re
from pathlib import Path
from typing import Any

from vtadl.data.layouts.category import GOOD, Category, Sample, Split, folder_name
from vtadl.data.layouts.files import Found, folders_in
from vtadl.errors import DataError

_CAMERA = re.compile(r"_(C\d)_")


def has_real_iad(root: Path) -> Found:
    """Whether there is a product's JSON for the folder, and ``OK/S0001`` or ``NG`` in it."""
    numbered = any(folder.name.startswith("S") for folder in folders_in(root / "OK"))
    if not numbered and not (root / "NG").is_dir():
        return False
    if _list(root) is not None:
        return True
    return f"Real-IAD (OK/ and NG/ are there, but no realiad_jsons/{folder_name(root)}.json beside the images' folder)"


def read_real_iad(root: Path) -> Category:
    """The images that the JSON names; each one's camera becomes its condition.

    Raises:
        DataError: the JSON is damaged, or trains on defects, as those of the noisy setting do.
    """
    table = _list(root)
    assert table is not None, "only what has_real_iad takes"
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        normal = content.get("meta", {}).get("normal_class", "OK")
        splits: tuple[Split, ...] = ("train", "test")
        samples = [_sample(root, entry, split, normal) for split in splits for entry in content[split]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"'{table}' is not a list of Real-IAD: {error!r}; get it again") from error
    bad = next((sample for sample in samples if sample.split == "train" and sample.is_defective), None)
    if bad is not None:
        raise DataError(f"'{table}' trains on the defect '{bad.path.name}'; use the list of realiad_jsons/ itself")
    beside = {sample.path.with_suffix(".png") for sample in samples}
    return Category(root=root, layout="real-iad", samples=tuple(samples), known=frozenset(beside))


def _list(root: Path) -> Path | None:
    name = f"{folder_name(root)}.json"
    above = root.absolute().parent.parent
    places = (root, root.absolute().parent, above / "realiad_jsons", above / "realiad_jsons" / "realiad_jsons")
    return next((place / name for place in places if (place / name).is_file()), None)


def _sample(root: Path, entry: dict[str, Any], split: Split, normal: str) -> Sample:
    path = root / entry["image_path"]
    label = GOOD if entry["anomaly_class"] == normal else str(entry["anomaly_class"])
    mask = None
    if label != GOOD:
        mask = root / entry["mask_path"] if entry.get("mask_path") else path.with_suffix(".png")
    camera = _CAMERA.search(path.name)
    return Sample(path=path, split=split, label=label, mask=mask, condition=camera.group(1) if camera else None)
