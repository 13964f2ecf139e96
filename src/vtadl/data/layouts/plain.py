"""What people make themselves: ``good/`` and ``bad/``, a folder of good images, or of images with drawings beside."""

from pathlib import Path

from vtadl.data.annotations import Annotations
from vtadl.data.layouts.category import GOOD_NAMES, Category, Sample
from vtadl.data.layouts.files import (
    Found,
    check_classes,
    defective_samples,
    folders_in,
    good_samples,
    images_in,
    innermost,
    misnamed,
    with_share_tested,
)
from vtadl.data.layouts.polygons import drawings_in, drawings_of
from vtadl.data.walk import DRAWINGS, LeftOut

_BAD_NAMES = (
    *("bad", "ng", "ko", "nok", "not_ok", "defect", "defects", "defective", "anomaly", "anomalies", "anomalous"),
    *("abnormal", "fail", "failed", "reject", "rejects", "rejected", "faulty"),
)


def has_plain(root: Path) -> Found:
    """Whether there is ``good/``."""
    if (root / "good").is_dir():
        return True
    names = [folder.name for folder in folders_in(root)]
    if good := [name for name in names if name.casefold() in GOOD_NAMES]:
        return f"the plain layout ({good[0]}/ where good/ is expected, and bad/ beside it)"
    bad = [name for name in names if name.casefold() in _BAD_NAMES]
    return f"the plain layout ({bad[0]}/ is there, and no good/ for the good images)" if bad else False


def read_plain(root: Path) -> Category:
    """``good/``, ``bad/`` with or without a folder for each type of defect, and ``masks/`` like ``bad/``.

    With defective images, a fifth of the good ones, chosen by the content of the files, becomes test images: an
    evaluation needs good parts that training has not seen.
    """
    left_out = LeftOut()
    good, bad = good_samples(images_in(root / "good", left_out)), root / "bad"
    masks = root / "masks" if (root / "masks").is_dir() else None
    samples = defective_samples(bad, "bad", masks, left_out, ending="", deep=False) if bad.is_dir() else []
    check_classes(folders_in(bad))
    for folder in folders_in(bad):
        own = None if masks is None else masks / folder.name
        samples += defective_samples(folder, folder.name, own, left_out, ending="")
    return Category(
        root=root,
        layout="plain",
        samples=(*samples, *(with_share_tested(good) if samples else good)),
        own_split=False,
        mask_folder=masks,
        class_folders=innermost(root / "good", bad),
        notes=tuple(misnamed(root, "bad", _BAD_NAMES)),
        left_out=left_out,
    )


def has_annotated(root: Path) -> Found:
    """Whether images lie in the folder itself, and labelme or COCO draws on some of them."""
    drawn = _drawn(root)
    if any(drawn.values()):
        return True
    if not drawn:
        apart = (root / "images").is_dir() and drawings_in([root, root / "annotations"])
        near = "images/ and annotations/ are apart: put the JSON into images/, and give that folder"
        return f"images with drawings ({near})" if apart else False
    for one in drawings_in([root]):
        if one.first:
            return f"images with drawings ('{one.path.name}' names '{one.first}', and no image here lies there)"
    others = [path.with_suffix(DRAWINGS) for path in drawn] + [path.with_name(path.name + DRAWINGS) for path in drawn]
    other = next((path.name for path in others if path.is_file() and not drawings_of(path)), None)
    return f"images with drawings ('{other}' is neither labelme's nor COCO's)" if other else False


def read_annotated(root: Path) -> Category:
    """Images that something is drawn on are defective, the others good; a fifth of these is tested."""
    good, bad = [], []
    for path, drawing in _drawn(root).items():
        if drawing is None:
            good.append(path)
        else:
            bad.append(Sample(path=path, split="test", label="defect", mask=drawing.path))
    left_out = LeftOut()
    images_in(root, left_out, deep=False)
    return Category(
        root=root,
        layout="annotated",
        samples=(*bad, *with_share_tested(good_samples(good))),
        own_split=False,
        notes=(f"{len(good)} images that nothing is drawn on count as good, {len(bad)} with a drawing as defective",),
        left_out=left_out,
    )


def _drawn(root: Path) -> dict[Path, Annotations | None]:
    """The images in a folder, and what draws on each."""
    images = images_in(root, deep=False)
    drawings = drawings_in([root]) if images else []
    return {path: next((one for one in drawings if one.is_of(path) and one.draws_on(path)), None) for path in images}


def has_bare(root: Path) -> Found:
    """Whether images lie in the folder itself."""
    return bool(images_in(root, deep=False))


def read_bare(root: Path) -> Category:
    """The images in the folder itself, all of them good."""
    left_out = LeftOut()
    samples = good_samples(images_in(root, left_out, deep=False))
    return Category(root=root, layout="bare", samples=tuple(samples), own_split=False, left_out=left_out)
