"""What people make themselves: ``good/`` and ``bad/``, a folder of good images, or of images with drawings beside."""

from pathlib import Path

from vtadl.data.annotations import Annotations
from vtadl.data.layouts.category import Category, Sample
from vtadl.data.layouts.files import (
    Found,
    defective_samples,
    folders_in,
    good_samples,
    images_in,
    innermost,
    with_share_tested,
)
from vtadl.data.layouts.polygons import drawings_in
from vtadl.data.walk import LeftOut
from vtadl.errors import DataError

_NEARLY_GOOD = ("good", "ok", "normal", "pass", "passed", "defect_free", "defect-free", "goods")


def has_plain(root: Path) -> Found:
    """Whether there is ``good/``."""
    if (root / "good").is_dir():
        return True
    names = [folder.name for folder in folders_in(root) if folder.name.casefold() in _NEARLY_GOOD]
    return f"the plain layout ({names[0]}/ where good/ is expected, and bad/ beside it)" if names else False


def read_plain(root: Path) -> Category:
    """``good/``, ``bad/`` with or without a folder for each type of defect, and ``masks/`` like ``bad/``.

    With defective images, a fifth of the good ones, chosen by the content of the files, becomes test images: an
    evaluation needs good parts that training has not seen.
    """
    left_out = LeftOut()
    good, bad = good_samples(images_in(root / "good", left_out)), root / "bad"
    masks = root / "masks" if (root / "masks").is_dir() else None
    samples = defective_samples(bad, "bad", masks, left_out, ending="", deep=False) if bad.is_dir() else []
    for folder in folders_in(bad):
        if folder.name == "good":
            raise DataError(f"'{folder}' is a type of defect named 'good'; rename the folder or move it out of bad/")
        own = None if masks is None else masks / folder.name
        samples += defective_samples(folder, folder.name, own, left_out, ending="")
    return Category(
        root=root,
        layout="plain",
        samples=(*samples, *(with_share_tested(good) if samples else good)),
        own_split=False,
        mask_folder=masks,
        class_folders=innermost(root / "good", bad),
        left_out=left_out,
    )


def has_annotated(root: Path) -> Found:
    """Whether images lie in the folder itself, and labelme or COCO draws on some of them."""
    return any(_drawn(root).values())


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
    images, drawings = images_in(root, deep=False), drawings_in([root])
    return {path: next((one for one in drawings if one.is_of(path) and one.draws_on(path)), None) for path in images}


def has_bare(root: Path) -> Found:
    """Whether images lie in the folder itself."""
    return bool(images_in(root, deep=False))


def read_bare(root: Path) -> Category:
    """The images in the folder itself, all of them good."""
    left_out = LeftOut()
    samples = good_samples(images_in(root, left_out, deep=False))
    return Category(root=root, layout="bare", samples=tuple(samples), own_split=False, left_out=left_out)
