"""Folders as of MVTec AD: ``train/good``, ``test/<defect>`` and ``ground_truth/<defect>``; and BTAD's, which differ in
names.

Sources: P. Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021; P. Bergmann et al., Beyond Dents and
Scratches (MVTec LOCO AD), IJCV 2022, with its ``defects_config.json``; S. Jezek et al., Deep Learning-Based Defect
Detection of Metal Parts (MPDD), ICUMT 2021; P. Mishra et al., VT-ADL (BTAD), ISIE 2021; each as its readme lays it out.
"""

from pathlib import Path

from vtadl.data.layouts.category import GOOD_NAMES, Category, Sample, Split
from vtadl.data.layouts.files import (
    Found,
    check_classes,
    defective_samples,
    folders_in,
    good_samples,
    images_in,
    innermost,
    misnamed,
    some,
)
from vtadl.data.mask_files import CONFIG_FILE
from vtadl.data.walk import LeftOut

MASKS = "ground_truth"
_OTHER_NAMES = {"validation": ("val", "valid"), "train": ("training",), "test": ("testing",)}


def has_mvtec(root: Path) -> Found:
    """Whether there is ``train/good`` or ``test/good``."""
    if any((root / split / "good" / "xyz").is_dir() for split in ("train", "test")):
        return False  # MVTec 3D-AD: what is in its folders is depth too.
    if (root / "train" / "good").is_dir() or (root / "test" / "good").is_dir():
        return True
    inside = [folder.name for folder in folders_in(root / "train")]
    if not inside or (root / "train" / "ok").is_dir():
        return False
    return f"MVTec AD (train/ holds {some(inside)} where train/good is expected)"


def read_mvtec(root: Path) -> Category:
    """MVTec AD and MPDD; with ``validation/good`` and a folder of masks for each image, MVTec LOCO AD."""
    layout = "mvtec-loco" if (root / CONFIG_FILE).is_file() else "mvtec"
    return split_folders(root, layout, tested=root / "test", truth=root / MASKS)


def has_btad(root: Path) -> Found:
    """Whether there is ``train/ok``."""
    return (root / "train" / "ok").is_dir()


def read_btad(root: Path) -> Category:
    """``train/ok``, ``test/ok``, ``test/ko`` and masks of the images' own names."""
    return split_folders(root, "btad", tested=root / "test", truth=root / MASKS, good="ok", ending="")


def split_folders(
    root: Path, layout: str, *, tested: Path, truth: Path, good: str = "good", ending: str = "_mask"
) -> Category:
    """Good images of ``train`` and ``validation``, and a folder for each class of test images.

    ``tested`` holds the classes, ``truth`` a folder of masks for each defective one, ``good`` names the good ones, and
    masks have the images' names with ``ending`` behind.
    """
    left_out, samples = LeftOut(), list[Sample]()
    splits: tuple[Split, ...] = ("train", "validation")
    masks = truth if truth.is_dir() else None
    for split in splits:
        samples += good_samples(images_in(root / split / good, left_out), split)
    classes = [folder for folder in folders_in(tested) if folder != truth]
    check_classes(classes, good)
    for folder in classes:
        if folder.name == good:
            samples += good_samples(images_in(folder, left_out), "test")
        else:
            own = None if masks is None else masks / folder.name
            samples += defective_samples(folder, folder.name, own, left_out, ending=ending)
    return Category(
        root=root,
        layout=layout,
        samples=tuple(samples),
        mask_folder=masks,
        class_folders=innermost(*(root / split for split in splits), *(classes or [tested])),
        notes=(*_misnamed(root, tested.name, good), *_without_thresholds(root, layout, samples)),
        left_out=left_out,
    )


def _misnamed(root: Path, tested: str, good: str) -> list[str]:
    notes = []
    for name in ("train", "validation", tested):
        notes += misnamed(root, name, _OTHER_NAMES.get(name, ()))
    for name in ("train", "validation"):
        notes += misnamed(root, f"{name}/{good}", GOOD_NAMES)
    return notes


def _without_thresholds(root: Path, layout: str, samples: list[Sample]) -> list[str]:
    several = sum(sample.mask is not None and sample.mask.is_dir() for sample in samples)
    if layout != "mvtec" or not several:
        return []
    return [
        f"{several} images have a folder of masks each, as in MVTec LOCO AD, but '{root}' has no {CONFIG_FILE}: AUPRO "
        "counts every region whole, without saturation thresholds"
    ]
