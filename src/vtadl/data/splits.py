"""Which good images are held out of training to calibrate scores and thresholds."""

from collections.abc import Sequence

from vtadl.data.hashing import select_by_content
from vtadl.data.layouts import Category, Sample
from vtadl.errors import DataError

FEW_IMAGES = 10
"""Of fewer good images none is held out."""


def training_split(category: Category) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """The images to train on, and the good ones held out.

    The layout's own validation images are held out where it has some, else a part of the training images: see
    `hold_out`.

    Raises:
        DataError: the category has no training images.
    """
    if not category.train:
        raise DataError(f"'{category.root}' has no images to train on; put images of good parts in its training folder")
    return (category.train, category.validation) if category.validation else hold_out(category.train)


def hold_out(samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Part the samples into kept and held out, by the content of the files: the same for every seed and every name.

    A tenth is held out, and at least 20 where there are 100; of fewer than `FEW_IMAGES` samples none. Exact copies stay
    together. Both parts keep the order of ``samples``.
    """
    held_out = select_by_content(samples, _held_out_count(len(samples)), lambda sample: sample.sha256)
    return (
        tuple(sample for sample in samples if sample not in held_out),
        tuple(sample for sample in samples if sample in held_out),
    )


def _held_out_count(count: int) -> int:
    if count < FEW_IMAGES:
        return 0
    tenth = (count + 5) // 10
    return max(20, tenth) if count >= 100 else tenth
