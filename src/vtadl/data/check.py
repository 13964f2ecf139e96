"""Findings about a folder of images, before anything is trained or evaluated on them."""

import hashlib
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vtadl.data.formats import IMAGE_SUFFIXES
from vtadl.data.images import orientation_of, read_image
from vtadl.data.layouts import OUTSIDE, Category, Sample, empty_folders, mask_folder
from vtadl.data.mask_files import read_mask_values
from vtadl.data.masks import MaskSummary, mask_warnings, summarize_mask
from vtadl.data.splits import FEW_IMAGES, training_split
from vtadl.data.walk import NOT_BY_NAME, LeftOut, is_aside
from vtadl.errors import DataError
from vtadl.progress import Progress, silent

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

_WORKERS = 2
_LISTED = 10
_WIDTH = 80

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a category holds and what is wrong with it.

    Errors stop training or evaluation; warnings say what to expect of them.
    """

    category: Category
    errors: list[str]
    warnings: list[str]
    counts: dict[str, dict[str, int]]
    """Images by split, then by label."""
    sizes: dict[str, int]
    """Images by ``WIDTHxHEIGHT``."""
    bit_depths: dict[int, int]
    """Images by bits a channel."""
    masks: dict[str, int]
    """``expected``: defective images of a set with masks; ``found``: those whose mask exists; ``empty``: all black."""

    def to_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {
            "category": self.category.name,
            "root": str(self.category.root),
            "layout": self.category.layout,
            "errors": self.errors,
            "warnings": self.warnings,
            "counts": self.counts,
            "taken_as": taken_as(self.category),
            "sizes": self.sizes,
            "bit_depths": {str(bits): count for bits, count in self.bit_depths.items()},
            "masks": self.masks,
        }

    def lines(self) -> list[str]:
        """The report for a terminal of 80 columns; of many findings of one kind only the first are listed."""
        lines = _wrapped(f"{self.category.name}: {self.category.layout} layout in {self.category.root}")
        for split, labels in self.counts.items():
            lines += _wrapped(f"  {split:<11} " + (", ".join(f"{n} {label}" for label, n in labels.items()) or "none"))
        lines += _wrapped(f"  taken as    {taken_as(self.category)}")
        lines += _wrapped(f"  sizes       {_size_summary(self.sizes)}")
        lines += _wrapped(f"  bit depth   {', '.join(f'{n} of {bits} bits' for bits, n in self.bit_depths.items())}")
        expected, found, empty = self.masks["expected"], self.masks["found"], self.masks["empty"]
        masks = f"{found} of {expected} defective images" + (f", {empty} empty" if empty else "")
        lines += _wrapped(f"  masks       {masks if expected else 'none'}")
        for kind, findings in (("error", self.errors), ("warning", self.warnings)):
            for finding in findings[:_LISTED]:
                lines += _wrapped(f"{kind}: {finding}")
            if len(findings) > _LISTED:
                lines.append(f"{kind}: {len(findings) - _LISTED} more of these; --json FILE lists them all")
        return lines if self.errors or self.warnings else [*lines, "no problems found"]


@dataclass(frozen=True, kw_only=True)
class _Inspection:
    size: tuple[int, int]
    bits: int
    digest: str
    pixels: str
    """Hash of the decoded pixels."""
    flat: bool
    """Whether all pixels are of one colour."""
    mask: MaskSummary | None

    @property
    def empty_mask(self) -> bool:
        return self.mask is not None and self.mask.share == 0


def taken_as(category: Category) -> str:
    """What each image is for, in a sentence."""
    try:
        kept, held_out = training_split(category)
    except DataError:
        return "nothing to learn from"
    said = f"{len(kept)} good images to learn from, {len(held_out)} to calibrate"
    if not category.test:
        return f"{said}, none to test with"
    said += f", {len(category.test)} to test with"
    tested = sum(not sample.is_defective for sample in category.test)
    if category.layout != "plain" or not tested:
        return said
    return (
        f"{said}; {tested} of the {tested + len(kept) + len(held_out)} in good/ are kept for tests, chosen by their "
        "content: a detector that was trained elsewhere is tested on all of good/ and bad/"
    )


def check_category(category: Category, *, progress: Progress = silent) -> CheckReport:
    """Decode every image and mask of a category and list what is wrong.

    Errors: nothing to train on, an empty class, an image or mask that cannot be used. Warnings: the rest.
    """
    inspected = list(zip(category.samples, _for_each(_inspect, category.samples, progress), strict=True))
    sound = [(sample, found) for sample, found in inspected if isinstance(found, _Inspection)]
    failed = [str(found) for _, found in inspected if isinstance(found, DataError)]
    expected = [sample.mask for sample in category.samples if sample.mask is not None]
    no_training = [] if category.train else [f"'{category.root}' has no images to train on; add images of good parts"]
    return CheckReport(
        category=category,
        errors=[*no_training, *map(str, empty_classes(category)), *failed],
        warnings=[
            *_few_images(category),
            *_unpublished_counts(category),
            *_copies(category, sound),
            *_unused_files(category),
            *_alike([(sample, found) for sample, found in sound if sample.split != "test"]),
            *(f"the mask of '{s.path}' is empty: no pixel is defective" for s, found in sound if found.empty_mask),
            *mask_warnings([found.mask for _, found in sound if found.mask is not None], empty=False),
        ],
        counts=_counts(category),
        sizes=_tally(f"{found.size[1]}x{found.size[0]}" for _, found in sound),
        bit_depths=_tally(found.bits for _, found in sound),
        masks={
            "expected": len(expected),
            "found": sum(mask.exists() for mask in expected),
            "empty": sum(found.empty_mask for _, found in sound),
        },
    )


def problems(samples: Sequence[Sample], *, progress: Progress = silent) -> list[tuple[Sample, DataError]]:
    """The samples that cannot be used, and why: every image is decoded, and every mask held against its image."""
    return look_over(samples, progress=progress)[0]


def look_over(
    samples: Sequence[Sample], *, progress: Progress = silent
) -> tuple[list[tuple[Sample, DataError]], list[str]]:
    """The `problems` of samples, and what is doubtful about the good images to learn from, a line each."""
    results = list(zip(samples, _for_each(_inspect, samples, progress), strict=True))
    good = [(s, found) for s, found in results if isinstance(found, _Inspection) and s.split != "test"]
    return [(s, found) for s, found in results if isinstance(found, DataError)], list(_alike(good))


def stop_on_problems(
    samples: Sequence[Sample], more: Sequence[DataError] = (), warn: Callable[[str], None] | None = None
) -> None:
    """Read all files first, so that a bad one is known before any long work.

    Args:
        samples: whose files.
        more: problems that are known already, such as empty folders.
        warn: called with each line about good images that are doubtful.

    Raises:
        DataError: the first bad file, and how many more there are.
    """
    found, doubtful = look_over(samples)
    errors = [*more, *(error for _, error in found)]
    if warn is not None:
        for line in doubtful:
            warn(line)
    if errors:
        rest = f" (and {len(errors) - 1} more: vtadl data check lists them)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{rest}")


def empty_classes(category: Category) -> list[DataError]:
    """One error for each folder of the layout that should hold images and holds none."""
    return [
        DataError(f"'{folder}' holds no images; put some there or remove the folder")
        for folder in empty_folders(category)
    ]


def _inspect(sample: Sample) -> _Inspection:
    image = read_image(sample.path)  # The pixels go at once: thousands of images would not fit in memory.
    return _Inspection(
        size=(image.shape[0], image.shape[1]),
        bits=8 * image.dtype.itemsize,
        digest=sample.sha256,
        pixels=hashlib.sha256(image.tobytes() + str(image.shape).encode()).hexdigest(),
        flat=bool((image == image[0, 0]).all()),
        mask=_mask(sample, (image.shape[0], image.shape[1])),
    )


def _mask(sample: Sample, size: tuple[int, int]) -> MaskSummary | None:
    if sample.mask is None:
        return None
    if not sample.mask.exists():
        raise DataError(
            f"defective image '{sample.path}' has no mask; expected '{sample.mask}': add it, or take the image out"
        )
    values = read_mask_values(sample.mask, size)
    return summarize_mask(sample.mask, values, turned=orientation_of(sample.path) != 1)


def _alike(good: Sequence[tuple[Sample, _Inspection]]) -> Iterator[str]:
    """Good images of which nothing can be learned."""
    flat = [sample for sample, found in good if found.flat]
    if flat:
        yield (
            f"{len(flat)} of {len(good)} good images are of one colour, '{flat[0].path}' for one, as a covered lens or "
            "a failed exposure leaves them: take them out"
        )
    different = len({found.pixels for _, found in good})
    if len(good) > 2 and different <= len(good) // 2:
        yield (
            f"only {different} of {len(good)} good images differ: natural variation cannot be learned from copies, and "
            "any other part will look defective; give images of different parts"
        )


def _for_each(function: Callable[[Sample], T], samples: Sequence[Sample], progress: Progress) -> list[T | DataError]:
    def result(sample: Sample) -> T | DataError:
        try:
            return function(sample)
        except DataError as error:
            return error

    results = []
    executor = ThreadPoolExecutor(_WORKERS)
    try:
        with progress("checking", len(samples)) as advance:
            for one in executor.map(result, samples):
                results.append(one)
                advance(1)
    finally:
        executor.shutdown(cancel_futures=True)
    return results


def _counts(category: Category) -> dict[str, dict[str, int]]:
    splits = {"train": category.train, "validation": category.validation, "test": category.test}
    return {
        split: _tally(sample.label for sample in samples)
        for split, samples in splits.items()
        if samples or split != "validation"
    }


def _few_images(category: Category) -> Iterator[str]:
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


def _unpublished_counts(category: Category) -> Iterator[str]:
    published = PUBLISHED_COUNTS.get(category.name)
    defective = sum(sample.is_defective for sample in category.test)
    counts = (len(category.train), len(category.test) - defective, defective)
    if category.layout == "mvtec" and published is not None and counts != published:
        yield (
            f"'{category.name}' is a category of MVTec AD, with {_parts(published)} (train good / test good / "
            f"test defective); here are {_parts(counts)}: metrics do not compare with published ones"
        )


def _copies(category: Category, inspected: Iterable[tuple[Sample, _Inspection]]) -> Iterator[str]:
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


def _unused_files(category: Category) -> Iterator[str]:
    """Masks without an image, images outside the layout, and files between the images that are none; by folder."""
    used = {path for sample in category.samples for path in (sample.path, sample.mask) if path is not None}
    folders = {path.parent for path in used}
    masks = mask_folder(category)
    # Masks of good images, where they exist, are all black and not needed.
    not_needed = [masks / name for name in ("good", "ok", "Normal")] if masks else []
    unused: defaultdict[tuple[Path, str], list[str]] = defaultdict(list)
    for path in sorted(category.root.rglob("*")):
        if path in used or path.parent in used or not path.is_file() or path.parent in not_needed:
            continue
        if any(is_aside(part) for part in path.relative_to(category.root).parts):
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            if path.parent in folders:
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


def _tally(values: Iterable[Any]) -> dict[Any, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _size_summary(sizes: dict[str, int]) -> str:
    if len(sizes) <= 4:
        return ", ".join(f"{count} of {size}" for size, count in sizes.items()) or "none"
    sides = [tuple(map(int, size.split("x"))) for size in sizes]
    widths, heights = zip(*sides, strict=True)
    return f"{len(sizes)} sizes, {min(widths)}-{max(widths)} wide and {min(heights)}-{max(heights)} high"


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
