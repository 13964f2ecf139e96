"""What a folder of images holds and what is wrong with it, before anything is trained or evaluated on it."""

import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vtadl.data.findings import copies, few_images, unpublished_counts, unused_files
from vtadl.data.integrity import Inspection, alike, empty_classes, inspect_all
from vtadl.data.layouts import Category
from vtadl.data.masks import mask_warnings
from vtadl.data.splits import training_split
from vtadl.errors import DataError
from vtadl.progress import Progress, silent

_LISTED = 10
_WIDTH = 80


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
            "conditions": conditions(self.category),
        }

    def lines(self) -> list[str]:
        """The report for a terminal of 80 columns; of many findings of one kind only the first are listed."""
        lines = _wrapped(f"{self.category.name}: {self.category.layout} layout in {self.category.root}")
        for split, labels in self.counts.items():
            lines += _wrapped(f"  {split:<11} " + (", ".join(f"{n} {label}" for label, n in labels.items()) or "none"))
        lines += _wrapped(f"  taken as    {taken_as(self.category)}")
        lines += _wrapped(f"  sizes       {_size_summary(self.sizes)}")
        lines += _wrapped(f"  bit depth   {', '.join(f'{n} of {bits} bits' for bits, n in self.bit_depths.items())}")
        if found_conditions := conditions(self.category):
            said = ", ".join(f"{count} {name}" for name, count in found_conditions.items())
            lines += _wrapped(f"  conditions  {said}")
        expected, found, empty = self.masks["expected"], self.masks["found"], self.masks["empty"]
        masks = f"{found} of {expected} defective images" + (f", {empty} empty" if empty else "")
        lines += _wrapped(f"  masks       {masks if expected else 'none'}")
        for kind, findings in (("error", self.errors), ("warning", self.warnings)):
            for finding in findings[:_LISTED]:
                lines += _wrapped(f"{kind}: {finding}")
            if len(findings) > _LISTED:
                lines.append(f"{kind}: {len(findings) - _LISTED} more of these; --json FILE lists them all")
        return lines if self.errors or self.warnings else [*lines, "no problems found"]


def conditions(category: Category) -> dict[str, int]:
    """Images by lighting or camera, where the layout's names say it."""
    return _tally(sample.condition for sample in category.samples if sample.condition is not None)


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
    if category.own_split or not tested:
        return said
    good = "in good/" if category.layout == "plain" else "good ones"
    return (
        f"{said}; {tested} of the {tested + len(kept) + len(held_out)} {good} are kept for tests, chosen by their "
        "content: a detector that was trained elsewhere is tested on all of them"
    )


def check_category(category: Category, *, progress: Progress = silent) -> CheckReport:
    """Decode every image and mask of a category and list what is wrong.

    Errors: nothing to train on, an empty class, an image or mask that cannot be used. Warnings: the rest.
    """
    inspected = inspect_all(category.samples, progress)
    sound = [(sample, found) for sample, found in inspected if isinstance(found, Inspection)]
    failed = [str(found) for _, found in inspected if isinstance(found, DataError)]
    expected = [sample.mask for sample in category.samples if sample.mask is not None]
    no_training = [] if category.train else [f"'{category.root}' has no images to train on; add images of good parts"]
    return CheckReport(
        category=category,
        errors=[*no_training, *map(str, empty_classes(category)), *failed],
        warnings=[
            *category.notes,
            *few_images(category),
            *unpublished_counts(category),
            *alike([(sample, found) for sample, found in sound if sample.split != "test"]),
            *copies(category, sound),
            *unused_files(category),
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


def _counts(category: Category) -> dict[str, dict[str, int]]:
    splits = {"train": category.train, "validation": category.validation, "test": category.test}
    return {
        split: _tally(sample.label for sample in samples)
        for split, samples in splits.items()
        if samples or split != "validation"
    }


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
