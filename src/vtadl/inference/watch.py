"""Score images as they appear in folders, each once it is completely written."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vtadl.data.walk import LeftOut, walk
from vtadl.errors import DataError
from vtadl.inference.batch import Options, Row, Summary, error_row, inspect_into, outside, task
from vtadl.inference.picture_names import picture_names
from vtadl.inference.predict import warn_of_unlike
from vtadl.inference.predictions_file import (
    Identity,
    Observe,
    PredictionsFile,
    identity_of,
    open_predictions_file,
    unobserved,
)
from vtadl.runs.run import Run


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
    identity: Identity
    since: float
    """When it was first seen as this, on the monotonic clock."""


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

    Each file is scored once. A name that is written again is another file: it gets another row, and other pictures.

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
    reasons: set[str] = set()
    told: set[str] = set()
    with open_predictions_file(out, task(run, folders, options), force=force, observe=observe) as predictions:
        before = predictions.rows
        while True:
            _note_absence(folders, away, say)
            ready = _complete(outside([*_images(folders, reasons, say)], out), predictions, seen, pace)
            names = picture_names(ready, ready, folders, predictions.names)
            inspect_into(
                predictions,
                run,
                ready,
                names,
                device,
                options,
                on_error=lambda path, error: _judged(path, error, seen, pace, say),
                advance=lambda count, note="": None,
                on_scored=lambda one: warn_of_unlike(run, str(one.path), one.original, told, say),
            )
            if stop.wait(pace.interval):
                return Summary(rows=predictions.rows, added=predictions.rows - before, failed=predictions.failed)


def _images(folders: Sequence[Path], reasons: set[str], say: Callable[[str], None]) -> Iterator[Path]:
    """Image files by name; what cannot be listed at the moment is passed over. A new reason to leave files out is said
    once.
    """
    left_out = LeftOut()
    for folder in folders:
        try:
            yield from sorted(walk(folder, left_out))
        except OSError:
            continue
    line = left_out.line()
    if line is not None and not reasons >= left_out.counts.keys():
        reasons.update(left_out.counts)
        say(line)


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
        identity = identity_of(path)
        if identity in predictions.done or path in present or not path.is_file():
            continue
        present.add(path)
        known = seen.get(path)
        if known is None or known.identity != identity:
            seen[path] = known = _Seen(identity=identity, since=now)
        if now - known.since >= pace.settle:
            ready.append(path)
    for path in seen.keys() - present:
        del seen[path]
    return ready


def _judged(
    path: Path, error: DataError, seen: dict[Path, _Seen], pace: Pace, say: Callable[[str], None]
) -> Row | None:
    """The row of a file that cannot be read; ``None`` if it is gone, grows, or may yet be fixed."""
    known = seen[path]
    if identity_of(path) != known.identity or time.monotonic() - known.since < pace.settle + pace.patience:
        return None
    say(str(error))
    return error_row(path, error, known.identity)
