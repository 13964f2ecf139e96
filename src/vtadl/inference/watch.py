"""Score images as they appear in folders, each once it is completely written."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vtadl.data.walk import LeftOut, walk
from vtadl.errors import DataError
from vtadl.inference.batch import EVERYTHING, Options, Row, error_row, inspect_into, outside, task
from vtadl.inference.picture_names import picture_names
from vtadl.inference.predict import warn_of_unlike
from vtadl.inference.predictions_file import (
    Identity,
    Observe,
    Summary,
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


def watch_folders(
    run: Run,
    folders: Sequence[Path],
    out: Path,
    device: torch.device,
    *,
    options: Options = EVERYTHING,
    pace: Pace | None = None,
    force: bool = False,
    observe: Observe = unobserved,
    stop: threading.Event,
    say: Callable[[str], None],
) -> Summary:
    """Score what is in the folders and what comes, until told to stop; a folder may be away for a while.

    Folders are searched recursively and need not exist yet. Each file is scored once; a name that is written again is
    another file: it gets another row, and other pictures. ``say`` gets a line when a file cannot be read, and when a
    folder goes or comes back.

    Raises:
        BundleError: ``out`` holds something else or something finished, or cannot be written.
    """
    watch, told = _Watch(folders=folders, out=out, pace=pace or Pace(), say=say), set[str]()
    with open_predictions_file(out, task(run, folders, options), force=force, observe=observe) as predictions:
        while True:
            ready = watch.ready(predictions.done)
            inspect_into(
                predictions,
                run,
                ready,
                picture_names(ready, ready, folders, predictions.names),
                device,
                options,
                on_error=watch.judged,
                on_scored=lambda one: warn_of_unlike(run, str(one.path), one.original, told, say),
            )
            if stop.wait(watch.pace.interval):
                return predictions.summary()


@dataclass(kw_only=True)
class _Seen:
    identity: Identity
    since: float
    """When it was first seen as this, on the monotonic clock."""


@dataclass(kw_only=True)
class _Watch:
    """Some folders, and what was seen and said of them."""

    folders: Sequence[Path]
    out: Path
    pace: Pace
    say: Callable[[str], None]
    seen: dict[Path, _Seen] = field(default_factory=dict)
    away: set[Path] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    """Why files were left out, each said once."""

    def ready(self, done: Collection[Identity]) -> list[Path]:
        """The new files that nobody has written to for a while."""
        self._note_absence()
        now, present, ready = time.monotonic(), set(), []
        for path in outside([*self._images()], self.out):
            identity = identity_of(path)
            if identity in done or path in present or not path.is_file():
                continue
            present.add(path)
            known = self.seen.get(path)
            if known is None or known.identity != identity:
                self.seen[path] = known = _Seen(identity=identity, since=now)
            if now - known.since >= self.pace.settle:
                ready.append(path)
        for path in self.seen.keys() - present:
            del self.seen[path]
        return ready

    def judged(self, path: Path, error: DataError) -> Row | None:
        """The row of a file that cannot be read; ``None`` if it is gone, grows, or may yet be fixed."""
        known, patience = self.seen[path], self.pace.settle + self.pace.patience
        if identity_of(path) != known.identity or time.monotonic() - known.since < patience:
            return None
        self.say(str(error))
        return error_row(path, error, known.identity)

    def _images(self) -> Iterator[Path]:
        """Image files by name; what cannot be listed at the moment is passed over."""
        left_out = LeftOut()
        for folder in self.folders:
            try:
                yield from sorted(walk(folder, left_out))
            except OSError:
                continue
        line = left_out.line()
        if line is not None and not self.reasons >= left_out.counts.keys():
            self.reasons.update(left_out.counts)
            self.say(line)

    def _note_absence(self) -> None:
        for folder in self.folders:
            if folder.is_dir() and folder in self.away:
                self.away.discard(folder)
                self.say(f"'{folder}' is back")
            elif not folder.is_dir() and folder not in self.away:
                self.away.add(folder)
                self.say(f"'{folder}' is not there; waiting for it")
