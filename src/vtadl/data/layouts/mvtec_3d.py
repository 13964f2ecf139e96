"""MVTec 3D-AD: its colour images, ``<split>/<class>/rgb``, with masks in ``gt``; depth, in ``xyz``, is not read.

Source: P. Bergmann et al., The MVTec 3D-AD Dataset for Unsupervised 3D Anomaly Detection and Localization, VISAPP 2022,
as its readme lays it out: ``train/good/rgb/000.png``, ``validation/good/rgb``, ``test/<defect>/rgb/000.png``,
``test/<defect>/gt/000.png`` (``test/good/gt`` too, all black), and ``xyz/000.tiff`` beside each ``rgb``.
"""

from pathlib import Path

from vtadl.data.layouts.category import Category, Sample
from vtadl.data.layouts.files import Found, check_classes, defective_samples, folders_in, good_samples, images_in
from vtadl.data.walk import LeftOut

_SPLITS = ("train", "validation", "test")


def has_mvtec_3d(root: Path) -> Found:
    """Whether a class of a split holds ``rgb``."""
    classes = [folder for split in _SPLITS for folder in folders_in(root / split)]
    if any((folder / "rgb").is_dir() for folder in classes):
        return True
    depth = [folder for folder in classes if (folder / "xyz").is_dir()]
    if depth:
        return f"MVTec 3D-AD ({depth[0].relative_to(root).as_posix()}/ holds xyz/ but no rgb/, and only colour is read)"
    return False


def read_mvtec_3d(root: Path) -> Category:
    """The colour images."""
    left_out = LeftOut()
    samples: list[Sample] = good_samples(images_in(root / "train/good/rgb", left_out))
    samples += good_samples(images_in(root / "validation/good/rgb", left_out), "validation")
    tested = folders_in(root / "test")
    check_classes(tested, "good")
    for folder in tested:
        if folder.name == "good":
            samples += good_samples(images_in(folder / "rgb", left_out), "test")
        else:
            masks = folder / "gt" if (folder / "gt").is_dir() else None
            samples += defective_samples(folder / "rgb", folder.name, masks, left_out, ending="")
    classes = [root / "train/good", root / "validation/good", *tested]
    others = [path for folder in classes for path in images_in(folder) if path.parent.name in ("xyz", "gt")]
    depth = sum(path.parent.name == "xyz" for path in others)
    return Category(
        root=root,
        layout="mvtec-3d",
        samples=tuple(samples),
        class_folders=tuple(folder / "rgb" for folder in classes if folder.is_dir()),
        notes=(f"{depth} files of depth in xyz/ are not read: only the colour images are",) if depth else (),
        known=frozenset(others),
        left_out=left_out,
    )
