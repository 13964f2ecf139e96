"""Score images as they appear in folders, each once it is completely written."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vtadl.data.layouts import IMAGE_SUFFIXES
from vtadl.errors import DataError
from vtadl.inference.batch import Options, Row, Summary, error_row, inspect_into, outside, relative_name, task
from vtadl.inference.predictions_file import Observe, PredictionsFile, open_predictions_file, unobserved
from vtadl.runs.run import Run

Signature = tuple[int, int]
"""Size and time of change: equal as long as nobody writes."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How patient a watch is, in seconds."""

    interval: float = 1.0
    """Between two looks at the folders."""
    settle: float = 2.0
    """A file that has not changed for so long is complete."""
    patience: float = 30.0
    """A complete file that cannot be read is tried again for so long: its writer may have been held up."""


@dataclass(kw_only=True)
class _Seen:
    signature: Signature
    since: float
    """When it was first seen with this signature, on the monotonic clock."""


def watch_folders(
    run: Run,
    folders: Sequence[Path],
    out: Path,
    device: torch.device,
    *,
    options: Options | None = None,
    pace: Pace | None = None,
    force: bool = False,
    observe: Observe = unobserved,
    stop: threading.Event,
    say: Callable[[str], None],
) -> Summary:
    """Score what is in the folders and what comes, until told to stop; a folder may be away for a while.

    A file that was scored is not scored again, even if it is written again under its name.

    Args:
        run: the detector.
        folders: watched recursively; they need not exist yet.
        out: folder to write to, or to resume, as in `vtadl.inference.batch.inspect_files`.
        device: where the model runs.
        options: what to write; by default everything.
        pace: how often to look.
        force: replace what is in ``out``.
        observe: called with each row that this watch adds.
        stop: ends the watch after what is being scored.
        say: called with a line when a file cannot be read, and when a folder goes or comes back.

    Raises:
        BundleError: ``out`` holds something else or something finished, or cannot be written.
    """
    options, pace = options or Options(), pace or Pace()
    seen: dict[Path, _Seen] = {}
    away: set[Path] = set()
    with open_predictions_file(out, task(run, folders, options), force=force, observe=observe) as predictions:
        before = len(predictions.done)
        while True:
            _note_absence(folders, away, say)
            ready = _complete(outside([*_images(folders)], out), predictions, seen, pace)
            names = _names(ready, folders, predictions)
            inspect_into(
                predictions,
                run,
                ready,
                names,
                device,
                options,
                on_error=lambda path, error: _judged(path, error, seen, pace, say),
                advance=lambda count, note="": None,
            )
            if stop.wait(pace.interval):
                return Summary(
                    rows=len(predictions.done), added=len(predictions.done) - before, failed=predictions.failed
                )


def _images(folders: Sequence[Path]) -> Iterator[Path]:
    """Image files by name; what cannot be listed at the moment is passed over."""
    for folder in folders:
        for place, inner, files in os.walk(folder):
            inner.sort()
            for name in sorted(files):
                if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                    yield Path(place) / name


def _note_absence(folders: Sequence[Path], away: set[Path], say: Callable[[str], None]) -> None:
    for folder in folders:
        if folder.is_dir() and folder in away:
            away.discard(folder)
            say(f"'{folder}' is back")
        elif not folder.is_dir() and folder not in away:
            away.add(folder)
            say(f"'{folder}' is not there; waiting for it")


def _complete(found: Sequence[Path], predictions: PredictionsFile, seen: dict[Path, _Seen], pace: Pace) -> list[Path]:
    """The new files that nobody has written to for a while."""
    now, present, ready = time.monotonic(), set(), []
    for path in found:
        if str(path) in predictions.done or path in present:
            continue
        signature = _signature(path)
        if signature is None:
            continue
        present.add(path)
        known = seen.get(path)
        if known is None or known.signature != signature:
            seen[path] = known = _Seen(signature=signature, since=now)
        if now - known.since >= pace.settle:
            ready.append(path)
    for path in seen.keys() - present:
        del seen[path]
    return ready


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _judged(
    path: Path, error: DataError, seen: dict[Path, _Seen], pace: Pace, say: Callable[[str], None]
) -> Row | None:
    """The row of a file that cannot be read; ``None`` if it is gone, grows, or may yet be fixed."""
    known = seen[path]
    if _signature(path) != known.signature or time.monotonic() - known.since < pace.settle + pace.patience:
        return None
    say(str(error))
    return error_row(path, error)


def _names(paths: Sequence[Path], folders: Sequence[Path], predictions: PredictionsFile) -> dict[Path, Path]:
    """A name for each file's pictures that no other has: with its suffix, or a number, only where that is needed."""
    taken, names = set(predictions.names), {}
    for path in paths:
        relative = relative_name(path, folders)
        name, number = relative.with_suffix(""), 1
        while {f"overlays/{name.as_posix()}.png", f"maps/{name.as_posix()}.tiff"} & taken:
            name = relative if number == 1 else relative.with_name(f"{relative.name}-{number}")
            number += 1
        taken |= {f"overlays/{name.as_posix()}.png", f"maps/{name.as_posix()}.tiff"}
        names[path] = name
    return names
