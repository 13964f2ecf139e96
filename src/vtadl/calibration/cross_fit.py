"""Score the images that a detector was trained on by others that did not see them: more scores to calibrate on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch

from vtadl.data.layouts import Category, Sample
from vtadl.data.splits import training_split
from vtadl.decision.card import CALIBRATING, CalibrationSet
from vtadl.decision.threshold import images_needed, lowest_rate
from vtadl.errors import DataError
from vtadl.progress import Progress, within
from vtadl.runs.learned_images import remembered_images
from vtadl.runs.origin import remembered_category
from vtadl.runs.run import HeldOut, Run, now
from vtadl.training.train import train_run

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Need:
    """Why a calibration has to cross-fit, and on what."""

    category: Category
    images: int
    """That it has now."""
    needed: int
    """That its rates need."""
    images_then: int
    """That it will have."""
    seconds: float | None
    """What it takes, about; ``None`` where the run does not say how long its training took."""


def need_of_cross_fit(run: Run, sets: Sequence[CalibrationSet], rate: float | None) -> Need | None:
    """Whether a calibration has too few images for the lowest rate that it is to promise, in (0, 1) where there is one,
    and cross-fitting would give it enough.

    Returns:
        ``None`` where it has enough, or cross-fitted already.

    Raises:
        ConfigError: a rate outside (0, 1).
        DataError: cross-fitting would not give it enough, or cannot be done here; the message says the lowest rate.
    """
    counting = [one for one in sets if one.kind in CALIBRATING]
    images = sum(len(one.scores) for one in counting)
    needed = 0 if rate is None else images_needed(rate)
    if rate is None or images >= needed or any(one.kind == "cross-fit" for one in counting):
        return None
    then = images + run.source.trained_on
    too_few = (
        f"a rate of {100 * rate:g} % needs at least {needed} good images that were not trained on; there are {images}"
    )
    if then < needed:
        raise DataError(
            f"{too_few}, and {then} by cross-fitting: add good images with --add-good, or ask for "
            f"--false-reject-rate {lowest_rate(then):g}"
        )
    folder, category = remembered_category(run.times), remembered_images(run.times)
    if category is None:
        where = f"'{folder}' is not there" if folder else "the run does not say where its images are"
        raise DataError(
            f"{too_few}, and {where}: add good images with --add-good, or name the folder that it was trained on with "
            "--cross-fit"
        )
    seconds = run.times.get("training_seconds")
    return Need(
        category=category,
        images=images,
        needed=needed,
        images_then=then,
        seconds=None if not isinstance(seconds, int | float) else FOLDS * float(seconds),
    )


def cross_fitted(
    run: Run,
    category: Category,
    device: torch.device,
    skip: frozenset[Sample],
    progress: Progress,
) -> CalibrationSet:
    """Scores of the images that a detector was trained on, each by one of five detectors that did not see it.

    Raises:
        DataError: the category holds other images.
    """
    kept, held_out = _images_of(run, category, skip)
    hashes = {sample: sample.sha256 for sample in (*kept, *held_out)}
    found: list[HeldOut] = []
    for fold in range(FOLDS):
        inside = [sample for sample in kept if _fold(hashes[sample]) == fold]
        others = [sample for sample, sha in hashes.items() if _fold(sha) != fold]
        if not inside:
            continue
        samples = [replace(s, split="validation") for s in inside] + [replace(s, split="train") for s in others]
        rest = replace(category, samples=tuple(samples), roi_mask=run.roi_mask)
        shown = within(progress, f"cross-fitting, {fold + 1} of {FOLDS}: ")
        found.append(train_run(run.config, rest, device, progress=shown).held_out)
    return CalibrationSet(
        kind="cross-fit",
        folder=str(category.root),
        added=now(),
        sha256=tuple(chain.from_iterable(one.sha256 for one in found)),
        scores=tuple(chain.from_iterable(one.scores for one in found)),
        appearance=tuple(chain.from_iterable(one.appearance for one in found)),
    )


def _images_of(run: Run, category: Category, skip: frozenset[Sample]) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """The images that a detector was trained on, and those held out, found again in its category.

    Raises:
        DataError: it does not hold them.
    """
    # By content: images that came since may have changed what the layout makes of the others.
    good = [sample for sample in category.samples if not sample.is_defective and sample not in skip]
    kept = tuple(sample for sample in good if sample.sha256 in set(run.source.training_sha256))
    held_out = tuple(sample for sample in good if sample.sha256 in set(run.held_out.sha256))
    if _same(run, (*kept, *held_out)):
        return kept, held_out
    # A run of an earlier version does not say which images it learned.
    kept, held_out = (tuple(s for s in samples if s not in skip) for samples in training_split(category))
    if _same(run, (*kept, *held_out)):
        return kept, held_out
    raise DataError(
        f"'{category.root}' does not hold the {run.source.images} images that this detector was made from; "
        "--cross-fit takes the category that it was trained on"
    )


def _same(run: Run, samples: Sequence[Sample]) -> bool:
    hashes = sorted(sample.sha256 for sample in samples)
    return hashlib.sha256("".join(hashes).encode()).hexdigest() == run.source.content_sha256


def _fold(sha256: str) -> int:
    """Copies of an image are always in one fold."""
    return int(sha256[:8], 16) % FOLDS
