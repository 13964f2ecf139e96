"""What of a category a detector may be tested on: the images that it has not seen."""

from dataclasses import replace

from vtadl.data.layouts import Category, Sample
from vtadl.errors import DataError, warn_caller
from vtadl.runs.run import Run


def unseen_by(run: Run, category: Category) -> Category:
    """The category with the run's test material as its test images.

    Where the layout says what is for tests, that stays; a warning says where the run was trained on some of it.
    Elsewhere, as in a plain layout, every image is for tests that the run was neither trained nor calibrated on: a
    folder of new parts is tested whole, and no image is tested that was learned.
    """
    seen = {*run.source.training_sha256, *run.held_out.sha256}
    if not seen:
        return category
    if not category.own_split:
        return replace(category, samples=tuple(_resplit(sample, seen) for sample in category.samples))
    trained = sum(_is_in(sample, set(run.source.training_sha256)) for sample in category.test)
    if trained:
        warn_caller(f"{trained} of {len(category.test)} test images were trained on: metrics look better than they are")
    return category


def _resplit(sample: Sample, seen: set[str]) -> Sample:
    if sample.is_defective:
        return sample
    return replace(sample, split="train" if _is_in(sample, seen) else "test")


def _is_in(sample: Sample, hashes: set[str]) -> bool:
    """Whether an image is one of these; one that cannot be read is none: reading it later says why."""
    try:
        return sample.sha256 in hashes
    except DataError:
        return False
