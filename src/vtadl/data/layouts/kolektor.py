"""KolektorSDD and KolektorSDD2: images with their masks beside, all black on good ones.

Sources: D. Tabernik et al., Segmentation-Based Deep-Learning Approach for Surface-Defect Detection, JIM 2020
(``kos01/Part0.jpg`` with ``kos01/Part0_label.bmp``); J. Bozic et al., Mixed Supervision for Surface-Defect Detection,
Computers in Industry 2021 (``train/10000.png`` with ``train/10000_GT.png``, and ``test/`` likewise).
"""

import re
from pathlib import Path

from vtadl.data.layouts.category import GOOD, Category, Sample, Split
from vtadl.data.layouts.files import Found, folders_in, images_in, with_share_tested
from vtadl.data.mask_files import read_mask
from vtadl.data.walk import LeftOut
from vtadl.errors import DataError

_ITEM = re.compile(r"kos\d+", re.IGNORECASE)
_LABEL, _TRUTH = "_label", "_GT"
_DEFECT = "defect"


def has_kolektor(root: Path) -> Found:
    """Whether there are folders such as ``kos01`` with masks of ``_label`` in them."""
    items = [folder for folder in folders_in(root) if _ITEM.fullmatch(folder.name)]
    if not items:
        return False
    if any(path.stem.endswith(_LABEL) for folder in items for path in images_in(folder)):
        return True
    return f"KolektorSDD ({items[0].name}/ holds no mask such as Part0_label.bmp)"


def read_kolektor(root: Path) -> Category:
    """Good and defective by their masks; a fifth of the good images, chosen by content, is for tests.

    The published folds train on defects, so there is no split to follow.
    """
    left_out = LeftOut()
    paths = [path for item in folders_in(root) if _ITEM.fullmatch(item.name) for path in images_in(item, left_out)]
    samples, masks = _paired(paths, _LABEL, ".bmp", "test")
    good = [Sample(path=sample.path, split="train", label=GOOD) for sample in samples if not sample.is_defective]
    bad = [sample for sample in samples if sample.is_defective]
    return Category(
        root=root,
        layout="kolektor-sdd",
        samples=(*bad, *(with_share_tested(good) if bad else good)),
        own_split=False,
        known=frozenset(masks),
        left_out=left_out,
    )


def has_kolektor_2(root: Path) -> Found:
    """Whether ``train/`` and ``test/`` hold images and masks of ``_GT``."""
    train, test = (images_in(root / name, deep=False) for name in ("train", "test"))
    if not train or not test:
        return False
    if any(path.stem.endswith(_TRUTH) for path in (*train, *test)):
        return True
    return "KolektorSDD2 (train/ and test/ hold images, but no masks such as 10000_GT.png)"


def read_kolektor_2(root: Path) -> Category:
    """The good images of ``train/`` to learn from, and all of ``test/``; its defective training images are left out."""
    left_out = LeftOut()
    splits: tuple[Split, ...] = ("train", "test")
    pairs = {split: _paired(images_in(root / split, left_out), _TRUTH, ".png", split) for split in splits}
    trained, tested = pairs["train"][0], pairs["test"][0]
    defective = [sample for sample in trained if sample.is_defective]
    notes = f"{len(defective)} defective images in train/ are not used: only good ones are learned from"
    return Category(
        root=root,
        layout="kolektor-sdd2",
        samples=tuple(sample for sample in (*trained, *tested) if sample not in defective),
        known=frozenset((*pairs["train"][1], *pairs["test"][1], *(sample.path for sample in defective))),
        notes=(notes,) if defective else (),
        left_out=left_out,
    )


def _paired(paths: list[Path], ending: str, suffix: str, split: Split) -> tuple[list[Sample], list[Path]]:
    """The samples among images and their masks, defective where anything is drawn; and the masks."""
    masks = {path.with_suffix(""): path for path in paths if path.stem.endswith(ending)}
    samples = []
    for path in paths:
        if path.stem.endswith(ending):
            continue
        stem = path.with_name(path.stem + ending)
        mask = masks.get(stem)
        if mask is None:
            raise DataError(
                f"'{path}' has no mask '{stem.name}{suffix}', so it is not known whether it is good; add it, or take "
                "the image out"
            )
        defective = bool(read_mask(mask, None).any())
        samples.append(
            Sample(path=path, split=split, label=_DEFECT if defective else GOOD, mask=mask if defective else None)
        )
    return samples, list(masks.values())
