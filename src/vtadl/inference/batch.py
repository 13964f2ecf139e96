"""Score folders of images, as many as there are, into a folder that grows and can be resumed.

Decoding, model and encoding overlap. Each image gets its row (see `vtadl.inference.predictions_file`) when its pictures
are on disk: ``overlays/`` and ``maps/`` (raw scores, 32-bit float TIFF) mirror the inputs' folders. Whatever kills the
process, the same call resumes where it was. Memory does not grow with the number of images, but for the list of their
names.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from PIL import Image

from vtadl.data.appearance import measure_appearance
from vtadl.data.images import image_size
from vtadl.data.layouts import find_images
from vtadl.data.roi import fitted_mask
from vtadl.decision.panel import Scale, heat_picture, panel
from vtadl.errors import BundleError, DataError
from vtadl.inference.picture_names import picture_names
from vtadl.inference.predict import BATCH_SIZES, Prediction, ScoredFile, predict_files, warn_of_unlike
from vtadl.inference.predictions_file import (
    Identity,
    Observe,
    PredictionsFile,
    Summary,
    identity_of,
    open_predictions_file,
    unobserved,
)
from vtadl.progress import Advance, Progress, silent
from vtadl.runs.run import Run, now, weights_sha256

ENCODERS = 2
PIXELS_IN_BATCH = 8 * 2_000_000
"""Larger images are scored fewer at a time, so that memory stays bounded."""
SIZED = 16
"""Images whose headers say how large all are."""

Row = dict[str, Any]


class Sink(Protocol):
    """What rows go to."""

    @property
    def folder(self) -> Path:
        """Where their pictures are."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Take the row of an image whose pictures are written."""


Spread = Callable[[Sink, Sequence[Path], Mapping[Path, Path], Advance], None]
"""Scores files elsewhere: rows into the sink, pictures of the names beside them, as `inspect_into` does here."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is written besides the rows."""

    overlays: bool = True
    maps: bool = True
    panels: bool = True
    """Overlays show the photo, verdict and scale beside the heat map; else the heat map alone, at its own size."""


EVERYTHING = Options()


def inspect_files(
    run: Run,
    inputs: Sequence[Path],
    out: Path,
    device: torch.device,
    *,
    options: Options = EVERYTHING,
    force: bool = False,
    spread: Spread | None = None,
    observe: Observe = unobserved,
    warn: Callable[[str], None],
    progress: Progress = silent,
) -> Summary:
    """Score every image of the inputs that has no row yet; a file that cannot be read gets a row with its error.

    A file that changed since it got its row is scored again, and has the new row alone. ``spread`` scores files
    elsewhere than in this process; ``observe`` gets each row that this call adds; ``warn`` gets a line on each file
    that cannot be read, and one on files that were left out.

    Raises:
        DataError: no images.
        BundleError: ``out`` holds something else or something finished, or cannot be written.
    """
    found = outside(find_images(inputs, warn), out)
    if not found:
        raise DataError(f"there are no images but those in '{out}'; name a folder of images")
    with open_predictions_file(out, task(run, inputs, options), force=force, observe=observe) as predictions:
        paths, identities = _to_do(found, predictions)
        names = picture_names(paths, found, inputs, predictions.names)
        told: set[str] = set()
        with progress("scoring", len(paths)) as advance:
            if spread is not None:
                spread(predictions, paths, names, advance)
            else:
                inspect_into(
                    predictions,
                    run,
                    paths,
                    names,
                    device,
                    options,
                    on_error=partial(_failed, warn, identities),
                    advance=advance,
                    on_scored=lambda one: warn_of_unlike(run, str(one.path), one.original, told, warn),
                )
        predictions.finish()
        return predictions.summary()


def _to_do(found: Sequence[Path], predictions: PredictionsFile) -> tuple[list[Path], dict[Path, Identity]]:
    """The files without a row, and what every file is now; rows of what files were before are forgotten."""
    identities = {path: identity_of(path) for path in found}
    predictions.forget_changed(identities.values())
    return [path for path in found if identities[path] not in predictions.done], identities


def _failed(warn: Callable[[str], None], identities: Mapping[Path, Identity], path: Path, error: DataError) -> Row:
    warn(str(error))
    return error_row(path, error, identities[path])


def inspect_into(
    predictions: Sink,
    run: Run,
    paths: Sequence[Path],
    names: Mapping[Path, Path],
    device: torch.device,
    options: Options,
    *,
    on_error: Callable[[Path, DataError], Row | None],
    advance: Advance = lambda count, note="": None,
    on_scored: Callable[[ScoredFile], None] = lambda one: None,
) -> None:
    """Score files, write their pictures by their names, which have no suffix, and add their rows in order.

    ``on_error`` gives the row, if any, of a file that cannot be read; ``on_scored`` gets each file, in this thread.

    Raises:
        BundleError: pictures or rows cannot be written.
    """
    pending: deque[Future[Row] | Row | None] = deque()
    # Before they are read: of a file that changes meanwhile, the row is of what it was, and it is scored again.
    identities = [identity_of(path) for path in paths]
    batch_size = _batch_size(paths, device)

    def written(one: ScoredFile) -> Row:
        row = written_row(run, one, names[one.path], predictions.folder, options)
        return {**row, "identity": identities[one.index]}

    try:
        with ThreadPoolExecutor(ENCODERS, thread_name_prefix="vtadl-encode") as encoders:
            for one in _scored_or_failed(run, paths, device, batch_size, on_error):
                if isinstance(one, ScoredFile):
                    on_scored(one)
                    pending.append(encoders.submit(written, one))
                else:
                    pending.append(one)
                _settle(pending, 2 * batch_size, predictions, advance)
            _settle(pending, 0, predictions, advance)
    except OSError as error:
        raise BundleError(
            f"cannot write to '{predictions.folder}': {error.strerror}; make room, then give the same command to resume"
        ) from error


def _scored_or_failed(
    run: Run,
    paths: Sequence[Path],
    device: torch.device,
    batch_size: int,
    on_error: Callable[[Path, DataError], Row | None],
) -> Iterator[ScoredFile | Row | None]:
    """Each file in its order: scored, or the row that ``on_error`` gives of one that cannot be read."""
    bad: deque[tuple[int, Row | None]] = deque()
    positions = {path: index for index, path in enumerate(paths)}

    def failed(path: Path, error: DataError) -> None:
        bad.append((positions[path], on_error(path, error)))

    for one in predict_files(run, paths, device, on_error=failed, keep_originals=True, batch_size=batch_size):
        while bad and bad[0][0] < one.index:
            yield bad.popleft()[1]
        yield one
    for _, row in bad:
        yield row


def _settle(pending: deque[Future[Row] | Row | None], most: int, predictions: Sink, advance: Advance) -> None:
    """Add the rows of the first files, until at most so many are under way."""
    while len(pending) > most:
        row = pending.popleft()
        row = row.result() if isinstance(row, Future) else row
        if row is not None:
            predictions.add(row)
        advance(1)


def task(run: Run, inputs: Sequence[Path], options: Options) -> dict[str, Any]:
    """What must be the same for work to resume, by the name that a message gives it."""
    return {
        "detector": weights_sha256(run.model),
        "calibration": None if run.card is None else run.card.created,
        "input": [str(path.absolute()) for path in inputs],
        "choice of --no-overlays, --overlay-only or --no-maps": asdict(options),
    }


def error_row(path: Path, error: DataError, identity: Identity | None = None) -> Row:
    """The row of a file that cannot be read; ``identity`` is what it was then, by default what it is."""
    return {
        "file": str(path),
        "score": None,
        "verdict": None,
        "error": str(error),
        "scored_at": now(),
        "identity": identity or identity_of(path),
    }


def outside(paths: Sequence[Path], out: Path) -> list[Path]:
    """The images but those that this program wrote itself, where its folder is inside an input."""
    own = out.resolve()
    return [path for path in paths if own not in path.absolute().parents and own not in path.resolve().parents]


def written_row(run: Run, one: ScoredFile, name: Path, folder: Path, options: Options) -> Row:
    """Write an image's pictures; its row."""
    assert one.original is not None
    prediction = one.prediction
    files = {}
    if options.overlays:
        shown = picture(run, one.original, prediction, panels=options.panels)
        files["overlay"] = _save(shown, folder, f"overlays/{name.as_posix()}.png", "PNG")
    if options.maps:
        files["map"] = _save(Image.fromarray(prediction.anomaly_map), folder, f"maps/{name.as_posix()}.tiff", "TIFF")
    return {
        "file": str(one.path),
        **prediction.to_dict(),
        **measure_appearance(one.original)._asdict(),
        "milliseconds": round(one.milliseconds, 2),
        "scored_at": now(),
        **files,
    }


def scale_of(run: Run) -> Scale:
    """The colours and thresholds that a run's pictures show."""
    low, high, card = run.held_out.colour_low, run.held_out.colour_high, run.card
    if card is None:
        return Scale(low=low, high=high)
    return Scale(low=low, high=high, threshold=card.threshold, pixel_threshold=card.pixel_threshold)


def picture(run: Run, original: NDArray[Any], prediction: Prediction, *, panels: bool = True) -> Image.Image:
    """The photo beside its heat map, or without ``panels`` the heat map alone.

    Args:
        run: the detector.
        original: ``(H, W, 3)`` uint8 or uint16.
        prediction: of this image.
        panels: for people; else at the image's own size, for machines.
    """
    height, width = prediction.anomaly_map.shape
    roi_mask = None if run.roi_mask is None else fitted_mask(run.roi_mask, (height, width))
    if panels:
        return panel(original, prediction, scale_of(run), roi_mask)
    return Image.fromarray(heat_picture(original, prediction, scale_of(run), roi_mask))


def _save(shown: Image.Image, folder: Path, name: str, kind: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # A fixed name: what a kill leaves half-written, the next call replaces. Short: the picture's own may be as long as
    # a name can be.
    partial = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}.partial")
    shown.save(partial, format=kind, **({"compress_level": 1} if kind == "PNG" else {}))
    partial.replace(path)
    return name


def _batch_size(paths: Sequence[Path], device: torch.device) -> int:
    """Those that suit the device, but fewer where images are large, going by the headers of some."""
    largest = 1
    for path in paths[:: max(1, len(paths) // SIZED)]:
        try:
            height, width = image_size(path)
        except DataError:
            continue
        largest = max(largest, height * width)
    return max(1, min(BATCH_SIZES[device.type], PIXELS_IN_BATCH // largest))
