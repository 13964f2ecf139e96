"""What a check finds in a category beside files that cannot be read: too few images, copies, files of no use."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from vtadl.data.formats import IMAGE_SUFFIXES
from vtadl.data.integrity import Inspection
from vtadl.data.layouts import OUTSIDE, Category, Sample
from vtadl.data.splits import FEW_IMAGES
from vtadl.data.walk import DRAWINGS, NOT_BY_NAME, LeftOut, is_aside

PUBLISHED_COUNTS = {
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "tile": (230, 33, 84),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "wood": (247, 19, 60),
    "zipper": (240, 32, 119),
}
"""MVTec AD: good training, good test and defective test images of each category (P. Bergmann et al., CVPR 2019)."""


def few_images(category: Category) -> Iterator[str]:
    """What cannot be done for want of images."""
    count = len(category.train) + len(category.validation)
    if 0 < count < FEW_IMAGES:
        yield (
            f"only {count} good images to learn from: none is held out, so no threshold can be calibrated, and natural "
            f"variation may look abnormal; {FEW_IMAGES} or more are needed, 50 or more are better"
        )
    labels = {sample.is_defective for sample in category.test}
    if not labels:
        yield "no test images: training and prediction work, evaluation does not"
    elif labels == {True}:
        yield "no good test images: metrics such as AUROC cannot be computed"
    elif labels == {False}:
        yield "no defective test images: metrics such as AUROC cannot be computed"


def unpublished_counts(category: Category) -> Iterator[str]:
    """A category of MVTec AD by its name, but with other images than were published."""
    published = PUBLISHED_COUNTS.get(category.name)
    defective = sum(sample.is_defective for sample in category.test)
    counts = (len(category.train), len(category.test) - defective, defective)
    if category.layout == "mvtec" and published is not None and counts != published:
        yield (
            f"'{category.name}' is a category of MVTec AD, with {_parts(published)} (train good / test good / "
            f"test defective); here are {_parts(counts)}: metrics do not compare with published ones"
        )


def copies(category: Category, inspected: Iterable[tuple[Sample, Inspection]]) -> Iterator[str]:
    """Files of the same bytes, and whether one of them is trained on."""
    by_digest: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample, found in inspected:
        by_digest[found.digest].append(sample)
    for copies in by_digest.values():
        first, *others = sorted(copies, key=lambda sample: sample.split == "test")
        for other in others:
            pair = f"'{category.relative(other.path)}' is an exact copy of '{category.relative(first.path)}'"
            if first.split != other.split == "test":
                yield f"test image {pair}, which is trained on: remove one of them"
            elif first.label != other.label:
                yield f"{pair}, yet one is '{other.label}' and one is '{first.label}': remove one of them"
            else:
                yield pair


def unused_files(category: Category) -> Iterator[str]:
    """Masks without an image, images outside the layout, and files between the images that are none; by folder."""
    used = {path for sample in category.samples for path in (sample.path, sample.mask) if path is not None}
    folders = {path.parent for path in used}
    used |= category.known
    masks = category.mask_folder
    # Masks of good images, where they exist, are all black and not needed.
    not_needed = [masks / name for name in ("good", "ok", "Normal")] if masks else []
    unused: defaultdict[tuple[Path, str], list[str]] = defaultdict(list)
    for path in sorted(category.root.rglob("*")):
        if path in used or path.parent in used or not path.is_file() or path.parent in not_needed:
            continue
        if any(is_aside(part) for part in path.relative_to(category.root).parts):
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            if path.parent in folders and path.suffix.lower() != DRAWINGS:
                unused[path.parent, "no images by their names, and left out"].append(path.name)
        elif masks is not None and path.is_relative_to(masks):
            unused[path.parent, "masks of no image here"].append(path.name)
        else:
            unused[path.parent, "images outside this layout, and left out"].append(path.name)
    # What lies outside the layout is said folder by folder, and the rest in a line.
    rest = LeftOut(counts=Counter(category.left_out.counts), examples=category.left_out.examples)
    del rest.counts[OUTSIDE], rest.counts[NOT_BY_NAME]
    if line := rest.line():
        yield line
    for (folder, kind), names in unused.items():
        yield f"files in '{category.relative(folder)}' are {kind}: {len(names)}, such as '{names[0]}'"


def _parts(counts: tuple[int, int, int]) -> str:
    return "/".join(map(str, counts))
