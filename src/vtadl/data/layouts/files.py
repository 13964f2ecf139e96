"""What the readers of layouts share: listing folders in natural order, and finding each image's mask."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from vtadl.data.formats import IMAGE_SUFFIXES
from vtadl.data.hashing import select_by_content
from vtadl.data.layouts.category import GOOD, GOOD_NAMES, Sample, Split
from vtadl.data.walk import DRAWINGS, LeftOut, is_aside, walk
from vtadl.errors import DataError

Found = bool | str
"""Whether a folder has a layout: true, false, or, of a near miss, what it nearly is and what is missing."""

MASK_NAMES = (
    *("ground_truth", "gt", "groundtruth", "ground-truth", "ground truth"),
    *("mask", "masks", "label", "labels", "annotations"),
)
"""What people call folders of masks, in lower case."""


def natural(path: Path) -> tuple[list[str | int], str]:
    """The key that sorts ``2.png`` before ``10.png``."""
    # Splitting at digits alternates text and numbers, so that like is compared with like.
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)], str(path)


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, but hidden ones and those of thumbnails; none where it does not exist."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir() and not is_aside(path.name)), key=natural)


def images_in(folder: Path, left_out: LeftOut | None = None, *, deep: bool = True) -> list[Path]:
    """The images in a folder and those inside it; none where it does not exist."""
    return sorted(walk(folder, left_out, deep=deep), key=natural) if folder.is_dir() else []


def check_classes(folders: Sequence[Path], good: str | None = None) -> None:
    """Hold folders of defects against what good parts are called, the folder named ``good`` apart.

    Raises:
        DataError: one is named as good parts are, and would be taken for a type of defect.
    """
    for folder in folders:
        if folder.name != good and folder.name.casefold() in GOOD_NAMES:
            name = f"{good}/ is expected for good parts" if good else "it is named as good parts are"
            raise DataError(f"'{folder}' would count as a type of defect; {name}: rename it, or move it away")


def misnamed(root: Path, expected: str, others: Collection[str] = ()) -> list[str]:
    """A line where a folder is missing, and there is one of another case, or one of some other names, instead.

    Args:
        root: of the category.
        expected: the folder, from there on.
        others: names in lower case.
    """
    wanted = root / expected
    if wanted.is_dir():
        return []
    place = Path(expected).parent
    names = [f.name for f in folders_in(wanted.parent) if f.name.casefold() in (wanted.name, *others)]
    return [f"{(place / name).as_posix()}/ is not read: {expected}/ is expected; rename it" for name in names[:1]]


def some(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def good_samples(paths: Sequence[Path], split: Split = "train") -> list[Sample]:
    """Good images, all for the same."""
    return [Sample(path=path, split=split, label=GOOD) for path in paths]


def defective_samples(
    folder: Path,
    label: str,
    masks: Path | None,
    left_out: LeftOut,
    *,
    ending: str = "_mask",
    deep: bool = True,
) -> list[Sample]:
    """The defective images of a folder, each with its mask under the same path in another one.

    Args:
        folder: of the images.
        label: the type of defect.
        masks: where their masks are or should be; ``None`` in a set without: then only labelme's drawings beside the
            images count.
        left_out: counts what is not taken.
        ending: that masks should have after the image's name; they are found without it too.
        deep: whether to look in the folders inside.

    Raises:
        DataError: two pictures are masks of one image.
    """
    drawn = _by_stem(masks, (*IMAGE_SUFFIXES, DRAWINGS), deep=deep)
    beside = _by_stem(folder, (DRAWINGS,), deep=deep)
    several = {stem.parent for stem in drawn}

    def mask_of(path: Path) -> Path | None:
        own = beside.get(path.with_suffix(""))
        if masks is None:
            return own
        stem = (masks / path.relative_to(folder)).with_suffix("")
        named = stem.with_name(f"{stem.name}_mask")
        found = drawn.get(named) or drawn.get(stem) or own
        # MVTec LOCO has a folder of masks for each image.
        return found or (stem if stem in several else stem.with_name(f"{stem.name}{ending}.png"))

    return [
        Sample(path=path, split="test", label=label, mask=mask_of(path))
        for path in images_in(folder, left_out, deep=deep)
    ]


def _by_stem(folder: Path | None, suffixes: Sequence[str], *, deep: bool) -> dict[Path, Path]:
    """Files by their paths without suffix; of several the first."""
    if folder is None or not folder.is_dir():
        return {}
    files: dict[Path, Path] = {}
    for path in sorted(walk(folder, suffixes=suffixes, deep=deep), key=natural):
        first = files.setdefault(path.with_suffix(""), path)
        if first != path and DRAWINGS not in (first.suffix.lower(), path.suffix.lower()):
            raise DataError(f"'{first}' and '{path}' are both masks of one image; remove one")
    return files


def innermost(*tops: Path) -> tuple[Path, ...]:
    """The folders under some that have no folder inside, but hidden ones and those of thumbnails."""
    found: list[Path] = []
    for top in tops:
        inside = folders_in(top)
        found += [folder for one in inside for folder in innermost(one)] if inside else [top] if top.is_dir() else []
    return tuple(found)


def with_share_tested(good: Sequence[Sample]) -> list[Sample]:
    """Good images of which a fifth, chosen by content, is for tests; at least one, but never the only one."""
    share = max(1, (len(good) + 2) // 5) if len(good) > 1 else 0
    tested = select_by_content(good, share, lambda sample: sample.sha256) if share else frozenset()
    return [replace(sample, split="test") if sample in tested else sample for sample in good]
