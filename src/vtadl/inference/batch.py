"""Score folders of images, as many as there are, into a folder that grows and can be resumed.

Decoding, model and encoding overlap. Each image gets its row (see `vtadl.inference.predictions_file`) when its pictures
are on disk: ``overlays/`` and ``maps/`` (raw scores, 32-bit float TIFF) mirror the inputs' folders. Whatever kills the
process, the same call resumes where it was. Memory does not grow with the number of images, but for the list of their
names.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
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
from vtadl.inference.predict import BATCH_SIZES, Prediction, ScoredFile, predict_files
from vtadl.inference.predictions_file import Observe, open_predictions_file, unobserved
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


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is in the folder, and what a call added."""

    rows: int
    """Images with a row, also of earlier calls."""
    added: int
    """Rows of this call."""
    failed: int
    """Rows of files that could not be read, also of earlier calls."""


def inspect_files(
    run: Run,
    inputs: Sequence[Path],
    out: Path,
    device: torch.device,
    *,
    options: Options | None = None,
    force: bool = False,
    spread: Spread | None = None,
    observe: Observe = unobserved,
    warn: Callable[[str], None],
    progress: Progress = silent,
) -> Summary:
    """Score every image of the inputs that has no row yet; a file that cannot be read gets a row with its error.

    Args:
        run: the detector.
        inputs: images and folders, which are searched recursively.
        out: folder to write to, or to resume.
        device: where the model runs.
        options: what to write; by default everything.
        force: replace what is in ``out``.
        spread: scores the files elsewhere; ``None``: in this process.
        observe: called with each row that this call adds.
        warn: called with each file that cannot be read.
        progress: shows how far it is.

    Raises:
        DataError: no images, or two that would be written to one name.
        BundleError: ``out`` holds something else or something finished, or cannot be written.
    """
    options = options or Options()
    found = outside(find_images(inputs), out)
    if not found:
        raise DataError(f"there are no images but those in '{out}'; name a folder of images")
    names = dict(zip(found, _names(found, inputs), strict=True))
    with open_predictions_file(out, task(run, inputs, options), force=force, observe=observe) as predictions:
        before = len(predictions.done)
        paths = [path for path in found if str(path) not in predictions.done]

        def failed(path: Path, error: DataError) -> Row:
            warn(str(error))
            return error_row(path, error)

        with progress("scoring", len(paths)) as advance:
            if spread is not None:
                spread(predictions, paths, names, advance)
            else:
                inspect_into(predictions, run, paths, names, device, options, on_error=failed, advance=advance)
        predictions.finish()
        return Summary(rows=len(predictions.done), added=len(predictions.done) - before, failed=predictions.failed)


def inspect_into(
    predictions: Sink,
    run: Run,
    paths: Sequence[Path],
    names: Mapping[Path, Path],
    device: torch.device,
    options: Options,
    *,
    on_error: Callable[[Path, DataError], Row | None],
    advance: Advance,
) -> None:
    """Score files, write their pictures, and add their rows in order.

    Args:
        predictions: takes the rows.
        run: the detector.
        paths: image files.
        names: of each file's pictures, without suffix.
        device: where the model runs.
        options: what to write.
        on_error: gives the row, if any, of a file that cannot be read.
        advance: called for each file that is done.

    Raises:
        BundleError: pictures or rows cannot be written.
    """
    bad: deque[tuple[int, Row | None]] = deque()
    pending: deque[Future[Row] | Row | None] = deque()

    def settle(most: int) -> None:
        while len(pending) > most:
            row = pending.popleft()
            row = row.result() if isinstance(row, Future) else row
            if row is not None:
                predictions.add(row)
            advance(1)

    def add_bad(until: int) -> None:
        while bad and bad[0][0] < until:
            pending.append(bad.popleft()[1])

    positions = {path: index for index, path in enumerate(paths)}
    batch_size = _batch_size(paths, device)
    scored = predict_files(
        run,
        paths,
        device,
        on_error=lambda path, error: bad.append((positions[path], on_error(path, error))),
        keep_originals=True,
        batch_size=batch_size,
    )
    try:
        with ThreadPoolExecutor(ENCODERS, thread_name_prefix="vtadl-encode") as encoders:
            for one in scored:
                add_bad(one.index)
                pending.append(encoders.submit(_written, run, one, names[one.path], predictions.folder, options))
                settle(2 * batch_size)
            add_bad(len(paths))
            settle(0)
    except OSError as error:
        raise BundleError(
            f"cannot write to '{predictions.folder}': {error.strerror}; make room, then give the same command to resume"
        ) from error


def task(run: Run, inputs: Sequence[Path], options: Options) -> dict[str, Any]:
    """What must be the same for work to resume, by the name that a message gives it."""
    return {
        "detector": weights_sha256(run.model),
        "calibration": None if run.card is None else run.card.created,
        "input": [str(path) for path in inputs],
        "choice of --no-overlays, --overlay-only or --no-maps": asdict(options),
    }


def error_row(path: Path, error: DataError) -> Row:
    """The row of a file that cannot be read."""
    return {"file": str(path), "score": None, "verdict": None, "error": str(error), "scored_at": now()}


def outside(paths: Sequence[Path], out: Path) -> list[Path]:
    """The images but those that this program wrote itself, where its folder is inside an input."""
    own = out.resolve()
    return [path for path in paths if own not in path.absolute().parents and own not in path.resolve().parents]


def _written(run: Run, one: ScoredFile, name: Path, folder: Path, options: Options) -> Row:
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
    # A fixed name: what a kill leaves half-written, the next call replaces.
    partial = path.with_name(f".{path.name}.partial")
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


def _names(files: Sequence[Path], inputs: Sequence[Path]) -> list[Path]:
    """A name for each file, relative to the input it came from, with its suffix only where that is needed."""
    relative = [relative_name(file, inputs) for file in files]
    stems = [name.with_suffix("") for name in relative]
    uses = Counter(stems)
    names = [stem if uses[stem] == 1 else name for stem, name in zip(stems, relative, strict=True)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"two inputs would be written to the same name '{twice}'; give their common folder instead")
    return names


def relative_name(file: Path, inputs: Sequence[Path]) -> Path:
    """A file's place in the input folder that it came from."""
    above = [folder for folder in inputs if folder != file and file.is_relative_to(folder)]
    return file.relative_to(above[0]) if above else Path(file.name)
