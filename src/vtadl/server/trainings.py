"""Trainings that are begun from the page: vtadl's own commands, one after the other, which a restarted server resumes.

Each has a lock that its process inherits: a training that outlives its server is waited for, never run twice.
"""

import asyncio
import contextlib
import fcntl
import json
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from sqlalchemy import select

from vtadl.errors import DataError, VtadlError
from vtadl.server.detectors import has_test_images
from vtadl.server.new_versions import make_version
from vtadl.server.problems import ConflictError
from vtadl.server.tables import Act, Detector, Training, now_ms

if TYPE_CHECKING:
    from vtadl.server.server import Server

INTERVAL_SECONDS, GRACE_SECONDS = 1.0, 2.0
RUN, METRICS_FILE = "run", "metrics.json"
SHOWN = ("image_AUROC", "pixel_AUROC", "pixel_AUPRO@0.3")
"""Of an evaluation, on the detector's page."""
TAIL_BYTES = 8000


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is."""

    state: str
    log: str
    step: int | None
    """Of those presets that learn in steps."""


class Trainings:
    """Runs the trainings that the database holds, one at a time."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._root = server.storage.root / "trainings"

    def folder(self, name: str) -> Path:
        """Where a training keeps its log, its uploaded pictures and its run."""
        return self._root / name

    def begin(self, name: str, images: Path | None, preset: str, by: str) -> None:
        """Let a training begin, or one that failed begin again.

        Args:
            name: of the detector to be.
            images: a folder of this machine; ``None``: the pictures that were uploaded under this name.
            preset: how it learns.
            by: whose wish it is.

        Raises:
            ConflictError: it runs already, or there is a detector of this name.
            DataError: there are no such images.
        """
        uploaded = self.folder(name) / "images"
        if not (images or uploaded).is_dir():
            raise DataError(f"there is no folder '{images or uploaded}'; send pictures first, or name a folder here")
        place = str(images.absolute() if images else uploaded.relative_to(self._server.storage.root))
        with self._server.database.write() as session:
            if session.get(Detector, name) is not None:
                raise ConflictError(f"there is a detector '{name}' already; choose another name")
            known = session.get(Training, name)
            if known is not None and known.state == "running":
                raise ConflictError(f"'{name}' is being trained already")
            if known is not None and (known.preset, known.images) != (preset, place):
                shutil.rmtree(self.folder(name) / RUN, ignore_errors=True)  # Another training cannot resume it.
            session.merge(Training(name=name, images=place, preset=preset, state="running", by=by, created_ms=now_ms()))
            session.add(Act(at_ms=now_ms(), by=by, act="training begun", what=f"{name}: {preset} on {place}"))

    def progress(self, training: Training) -> Progress:
        """How far a training is."""
        log = self.folder(training.name) / "log.txt"
        text = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if log.exists() else ""
        steps = self.folder(training.name) / RUN / "log.jsonl"
        step = None
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError, TypeError):
            step = int(json.loads(steps.read_text().splitlines()[-1])["step"])
        return Progress(state=training.state, log=text, step=step)

    async def work(self, stop: asyncio.Event) -> None:
        """Run what is to be run, if anything; what is under way when told to stop is resumed at the next start."""
        training = await asyncio.to_thread(self._next)
        if training is not None:
            await self._run(training, stop)

    def _next(self) -> Training | None:
        with self._server.database.read() as session:
            return session.scalar(
                select(Training).where(Training.state == "running").order_by(Training.created_ms).limit(1)
            )

    async def _run(self, training: Training, stop: asyncio.Event) -> None:
        folder = self.folder(training.name)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock, (folder / "log.txt").open("ab") as log:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # A process of an earlier server is still at it, or another server is.
            images, run = str(self._server.storage.root / training.images), str(folder / RUN)
            commands = [
                ["data", "check", images],
                ["train", images, "--out", run, "--preset", training.preset, "--resume"],
            ]
            for arguments in commands:
                code = await self._command(arguments, log, lock, stop)
                if code is None:
                    return
                if code:
                    await asyncio.to_thread(self._end, training, "failed")
                    return
            if await asyncio.to_thread(has_test_images, images):
                # A detector that cannot be measured is one all the same: the log says why.
                await self._command(["eval", run, images, "--json", str(folder / METRICS_FILE)], log, lock, stop)
            if not (folder / RUN / "card.json").exists():
                # Few images support no rate: then those that it was trained on are scored by others.
                for further in ([], ["--cross-fit", images]):
                    if await self._command(["calibrate", run, *further], log, lock, stop) in (0, None):
                        break
            if not stop.is_set():
                await self._add(training)

    async def _command(self, arguments: list[str], log: BinaryIO, lock: TextIO, stop: asyncio.Event) -> int | None:
        """Run a command; its exit code, or ``None`` where the server ended first."""
        log.write(f"$ vtadl {' '.join(arguments)}\n".encode())
        log.flush()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vtadl", *arguments),
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )
        ended, stopped = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            process.send_signal(signal.SIGINT)
            await ended
            return None
        if ended.result():
            # What ends the server may have ended the command just before.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), GRACE_SECONDS)
                return None
        return ended.result()

    async def _add(self, training: Training) -> None:
        state, folder = "done", self.folder(training.name)
        evaluated = json.loads((folder / METRICS_FILE).read_text()) if (folder / METRICS_FILE).exists() else {}
        metrics = {name: evaluated.get(name) for name in SHOWN if evaluated}
        try:
            await make_version(
                self._server, training.name, folder / RUN, why="trained here", by=training.by, metrics=metrics
            )
        except VtadlError:
            state = "failed"
        await asyncio.to_thread(self._end, training, state)

    def _end(self, training: Training, state: str) -> None:
        with self._server.database.write() as session:
            session.get_one(Training, training.name).state = state
