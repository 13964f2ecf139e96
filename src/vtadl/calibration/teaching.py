"""Teach a detector new good parts, and set its threshold again by the same request: nothing is trained again."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vtadl.calibration.calibrate import calibrate, request_of
from vtadl.calibration.images import gather, scored_set
from vtadl.data.hashing import content_hash
from vtadl.data.layouts import Sample, find_images, read_category
from vtadl.data.training_images import GoodImages, TrainingImages, good_images
from vtadl.decision.card import CalibrationSet, Verdict
from vtadl.errors import DataError, warn_caller
from vtadl.inference.predict import predict_files
from vtadl.progress import Progress, silent, within
from vtadl.runs.learned_images import remembered_images
from vtadl.runs.origin import note_taught
from vtadl.runs.run import Run
from vtadl.training.teach import check_teachable, taught


@dataclass(frozen=True, kw_only=True)
class BeforeAfter:
    """What an image scored before and after a detector was taught."""

    path: Path
    score_before: float
    score_after: float
    verdict_before: Verdict | None
    """``None`` without a card."""
    verdict_after: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What teaching came to."""

    run: Run
    """The detector as it is now."""
    learned: tuple[BeforeAfter, ...]
    """The parts that it learned; afterwards they score lower than others like them, which it has not seen."""
    held_out: tuple[BeforeAfter, ...]
    """Those of the new parts that calibrate only."""
    defective: tuple[BeforeAfter, ...]
    """Known defective parts."""
    threshold_before: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Counts and each image's scores."""
        card, source = self.run.card, self.run.source
        groups = {"learned": self.learned, "held_out": self.held_out, "defective": self.defective}
        return {
            "trained_on": source.trained_on,
            "threshold_before": self.threshold_before,
            "threshold": None if card is None else card.threshold,
            "seconds": self.seconds,
            **{name: _group(images) for name, images in groups.items()},
        }


def good_before_after(images: Sequence[BeforeAfter]) -> tuple[int, int]:
    """How many are judged good, before and after."""
    before = sum(one.verdict_before == "good" for one in images)
    return before, sum(one.verdict_after == "good" for one in images)


def teach(
    run: Run,
    folder: Path,
    device: torch.device,
    *,
    defective: Path | None = None,
    moved_to: Path | None = None,
    threshold: bool = True,
    skip: frozenset[Sample] = frozenset(),
    progress: Progress = silent,
) -> Teaching:
    """Learn the good parts of a folder, score the held-out images again, and set the threshold by the card's request.

    A tenth is held out as in a training; a folder's test images are not learned. Scores of known defective parts are
    reported and change nothing. The category that the run was trained on may have moved. Nothing is written, and
    ``run`` stays as it is.

    Raises:
        ConfigError: a preset that cannot be taught.
        BundleError: the run does not hold what teaching takes.
        DataError: nothing new to learn, images that cannot be used, or too few for the threshold.
    """
    started = time.perf_counter()
    check_teachable(run)
    new = _new_images(run, folder, skip)
    known = () if defective is None else tuple(find_images([defective]))
    shown = {"learned": new.kept.paths, "held_out": new.held_out.paths, "defective": known}
    before = {name: _scores(run, paths, device, within(progress, "before: ")) for name, paths in shown.items()}
    held_out = TrainingImages.of([*_held_out_samples(run, moved_to), *_samples(new.held_out)], run.roi_mask)
    after = taught(run, replace(new, held_out=held_out).with_range(run.config.data.pair), device, progress)
    after.times = note_taught(run.times, folder)
    if threshold:
        _set_threshold(run, after, device, progress)
    scores = {name: _scores(after, paths, device, within(progress, "after: ")) for name, paths in shown.items()}
    return Teaching(
        run=after,
        threshold_before=None if run.card is None else run.card.threshold,
        seconds=round(time.perf_counter() - started, 1),
        **{name: _compared(paths, before[name], scores[name]) for name, paths in shown.items()},
    )


def _new_images(run: Run, folder: Path, skip: frozenset[Sample]) -> GoodImages:
    category = read_category(folder)
    seen = {*run.source.training_sha256, *run.held_out.sha256}
    good = [sample for sample in (*category.train, *category.validation) if sample not in skip]
    first = {sample.sha256: sample for sample in reversed(good)}
    fresh = {sample for sha, sample in first.items() if sha not in seen}
    if not fresh:
        raise DataError(
            f"'{folder}' has nothing new: each of its {len(good)} good images was learned or held out before"
        )
    if len(fresh) < len(good):
        warn_caller(f"'{folder}': {len(good) - len(fresh)} images left out: they, or copies of them, are known already")
    samples = tuple(sample for sample in category.samples if sample in fresh)
    images = good_images(replace(category, samples=samples, roi_mask=run.roi_mask))
    if not len(images.kept):
        raise DataError(
            f"'{folder}' has no new image to learn, only held-out ones; put good parts into its training folder"
        )
    return images


def _held_out_samples(run: Run, moved_to: Path | None) -> Iterable[Sample]:
    """The images that the run held out so far, where they are found again."""
    wanted = set(run.held_out.sha256)
    category = remembered_images(run.times, moved_to) if wanted else None
    found = _by_hash((() if category is None else category.samples), wanted)
    if len(found) < len(wanted):
        where = "its training folder" if category is None else f"'{category.root}'"
        warn_caller(
            f"{len(wanted) - len(found)} of the {len(wanted)} held-out images are not in {where} any more, so the "
            "threshold rests on the others; --category FOLDER says where they are now"
        )
    return found.values()


def _by_hash(samples: Iterable[Sample], wanted: set[str]) -> dict[str, Sample]:
    found = {}
    for sample in samples:
        try:
            if sample.sha256 in wanted:
                found[sample.sha256] = sample
        except DataError:
            continue  # it went away meanwhile
    return found


def _samples(images: TrainingImages) -> list[Sample]:
    return [Sample(path=path, split="validation", label="good") for path in images.paths]


def _set_threshold(before: Run, after: Run, device: torch.device, progress: Progress) -> None:
    if before.card is None:
        return
    sets = _sets_again(before, after, device, progress)
    # Beside the earlier card, so that the new one says what changed.
    after.card = calibrate(replace(after, card=before.card), sets, request_of(before.card))


def _sets_again(before: Run, after: Run, device: torch.device, progress: Progress) -> Sequence[CalibrationSet]:
    """The sets of the earlier card, scored by the detector as it is now.

    Cross-fitted scores stay: they are other detectors' on the same scale, and the card says that they are approximate.
    """
    assert before.card is not None
    sets = list(gather(after, device))
    known = {*after.source.training_sha256, *after.held_out.sha256}
    for one in before.card.calibration_sets:
        if one.kind == "cross-fit":
            sets.append(one)
        elif one.kind != "held out":
            wanted = set(one.sha256) - known
            folder = Path(one.folder)
            there = _images_of(folder)
            paths = [there[sha] for sha in sorted(wanted & there.keys())]
            if len(paths) < len(wanted):
                warn_caller(
                    f"'{folder}': {len(wanted) - len(paths)} '{one.kind}' images are gone and no longer calibrate"
                )
            sets.append(scored_set(after, one.kind, folder, paths, device, None, progress))
    return [one for one in sets if one.scores or one.kind == "held out"]


def _images_of(folder: Path) -> dict[str, Path]:
    """The images of a folder by content; none where it is gone or empty."""
    try:
        return {content_hash(path): path for path in find_images([folder])}
    except DataError:
        return {}


Scores = list[tuple[float, Verdict | None]]


def _scores(run: Run, paths: Sequence[Path], device: torch.device, progress: Progress) -> Scores:
    found: Scores = []
    with progress("scoring", len(paths)) as advance:
        for one in predict_files(run, paths, device):
            found.append((one.prediction.score, one.prediction.verdict))
            advance(1)
    return found


def _compared(paths: Sequence[Path], before: Scores, after: Scores) -> tuple[BeforeAfter, ...]:
    return tuple(
        BeforeAfter(path=path, score_before=old[0], score_after=new[0], verdict_before=old[1], verdict_after=new[1])
        for path, old, new in zip(paths, before, after, strict=True)
    )


def _group(images: Sequence[BeforeAfter]) -> dict[str, Any]:
    before, after = good_before_after(images)
    return {
        "images": len(images),
        "good_before": before,
        "good_after": after,
        "scores": [{"file": str(one.path), "before": one.score_before, "after": one.score_after} for one in images],
    }
