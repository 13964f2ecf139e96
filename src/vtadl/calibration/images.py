"""The good images, and labelled ones, that a calibration rests on: held out, cross-fitted, or added later."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vtadl.calibration.cross_fit import cross_fitted
from vtadl.data.appearance import Appearance, measure_appearance
from vtadl.data.hashing import content_hash
from vtadl.data.layouts import Category, Sample, find_images
from vtadl.decision.card import CALIBRATING, CalibrationSet, Kind
from vtadl.errors import DataError, warn_caller
from vtadl.inference.predict import predict_files
from vtadl.progress import Progress, silent
from vtadl.runs.run import Run, now

OnBad = Callable[[Path, DataError], None] | None


def gather(
    run: Run,
    device: torch.device,
    *,
    cross_fit: Category | None = None,
    add_good: Sequence[Path] = (),
    add_rejects: Sequence[Path] = (),
    labelled: Category | None = None,
    fresh: bool = False,
    skip: frozenset[Sample] = frozenset(),
    on_bad: OnBad = None,
    progress: Progress = silent,
) -> tuple[CalibrationSet, ...]:
    """The images that a calibration rests on: those of the run's card, else its held-out ones, and new ones.

    To ``cross_fit``, each image that the run was trained on is scored by a detector that did not see it, one of five.
    Test images of a labelled category measure, or choose, a threshold. ``on_bad`` gets each file of the folders that
    cannot be read, which is left out; without it such a file raises.

    Raises:
        DataError: images that cannot be used.
    """
    kept = () if fresh or run.card is None else run.card.calibration_sets
    sets = list(kept) or [_held_out(run)]
    if cross_fit is not None:
        sets = [one for one in sets if one.kind != "cross-fit"]
        sets.insert(1, cross_fitted(run, cross_fit, device, skip, progress))
    kinds: tuple[tuple[Kind, Sequence[Path]], ...] = (("added good", add_good), ("added rejects", add_rejects))
    for kind, folders in kinds:
        for folder in folders:
            known = {sha for one in sets if one.kind in CALIBRATING for sha in one.sha256}
            sets.append(_added(run, kind, folder, known, device, on_bad, progress))
    if labelled is not None:
        sets = [one for one in sets if one.kind in CALIBRATING]
        sets += _labelled(run, labelled, device, skip, on_bad, progress)
    return tuple(one for one in sets if one.scores or one.kind == "held out")


def _held_out(run: Run) -> CalibrationSet:
    held_out = run.held_out
    return CalibrationSet(
        kind="held out",
        folder=run.source.category,
        added=str(run.times.get("date", "")),
        sha256=held_out.sha256,
        scores=held_out.scores,
        appearance=held_out.appearance,
    )


def _added(
    run: Run,
    kind: Kind,
    folder: Path,
    known: set[str],
    device: torch.device,
    on_bad: OnBad,
    progress: Progress,
) -> CalibrationSet:
    found = find_images([folder])
    hashes = {content_hash(path): path for path in reversed(found)}
    trained = hashes.keys() & set(run.source.training_sha256)
    if trained:
        warn_caller(f"'{folder}': {len(trained)} images left out: they were trained on, so their scores are too low")
    repeated = len(found) - len(hashes) + len((hashes.keys() & known) - trained)
    if repeated:
        warn_caller(f"'{folder}': {repeated} images left out: their like is counted already")
    paths = [path for sha, path in sorted(hashes.items()) if sha not in known and sha not in trained]
    return scored_set(run, kind, folder, paths, device, on_bad, progress)


def _labelled(
    run: Run, category: Category, device: torch.device, skip: frozenset[Sample], on_bad: OnBad, progress: Progress
) -> list[CalibrationSet]:
    samples = [sample for sample in category.test if sample not in skip]
    if not any(sample.is_defective for sample in samples):
        raise DataError(f"'{category.root}' has no defective test images; --labelled needs some")
    good = [sample.path for sample in samples if not sample.is_defective]
    defective = [sample.path for sample in samples if sample.is_defective]
    kinds: tuple[tuple[Kind, list[Path]], ...] = (("labelled good", good), ("labelled defective", defective))
    return [scored_set(run, kind, category.root, paths, device, on_bad, progress) for kind, paths in kinds]


def scored_set(
    run: Run,
    kind: Kind,
    folder: Path,
    paths: Sequence[Path],
    device: torch.device,
    on_bad: OnBad,
    progress: Progress,
) -> CalibrationSet:
    """Some images of a folder as a calibration set of this kind, scored.

    Raises:
        DataError: a file cannot be read (without ``on_bad``).
    """
    found: list[tuple[str, float, Appearance]] = []
    with progress("scoring", len(paths)) as advance:
        for one in predict_files(run, paths, device, on_error=on_bad, keep_originals=True):
            assert one.original is not None
            found.append((content_hash(one.path), one.prediction.score, measure_appearance(one.original)))
            advance(1)
    sha256, scores, appearance = zip(*found, strict=True) if found else ((), (), ())
    return CalibrationSet(
        kind=kind, folder=str(folder), added=now(), sha256=sha256, scores=scores, appearance=appearance
    )
