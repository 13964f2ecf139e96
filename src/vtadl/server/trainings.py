"""Trainings that are begun from the page: vtadl's own commands, one after the other, which a restarted server resumes.

Each has a lock that its process inherits: a training that outlives its server is waited for, never run twice.
"""

import asyncio
import contextlib
import fcntl
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from vtadl.errors import VtadlError
from vtadl.server.detectors import fingerprint
from vtadl.server.problems import ConflictError
from vtadl.server.tables import Act, Detector, Training, now_ms
from vtadl.server.versions import add_version

if TYPE_CHECKING:
    from vtadl.server.server import Server

LOOK_SECONDS, GRACE_SECONDS = 1.0, 2.0
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

    def begin(self, name: str, images: Path, preset: str, by: str) -> None:
        """Let a training begin, or one that failed begin again.

        Raises:
            ConflictError: it runs already, or there is a detector of this name.
        """
        with self._server.database.write() as session:
            if session.get(Detector, name) is not None:
                raise ConflictError(f"there is a detector '{name}' already; choose another name")
            known = session.get(Training, name)
            if known is not None and known.state == "running":
                raise ConflictError(f"'{name}' is being trained already")
            if known is not None:
                session.delete(known)
                session.flush()
            session.add(
                Training(name=name, images=str(images), preset=preset, state="running", by=by, created_ms=now_ms())
            )
            session.add(Act(at_ms=now_ms(), by=by, act="training begun", what=f"{name}: {preset} on {images}"))

    def progress(self, training: Training) -> Progress:
        """How far a training is."""
        log = self.folder(training.name) / "log.txt"
        text = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if log.exists() else ""
        steps = self.folder(training.name) / "run" / "log.jsonl"
        step = None
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError, TypeError):
            step = int(json.loads(steps.read_text().splitlines()[-1])["step"])
        return Progress(state=training.state, log=text, step=step)

    async def forever(self, stop: asyncio.Event) -> None:
        """Run what is to be run until told to stop; what is under way is resumed at the next start."""
        while not stop.is_set():
            with contextlib.suppress(SQLAlchemyError, OSError):
                training = await asyncio.to_thread(self._next)
                if training is not None:
                    await self._run(training, stop)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)

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
            run = folder / "run"
            steps = [
                ["data", "check", training.images],
                ["train", training.images, "--out", str(run), "--preset", training.preset, "--resume"],
            ]
            for arguments in steps:
                code = await self._command(arguments, log, lock, stop)
                if code is None:
                    return
                if code:
                    await asyncio.to_thread(self._end, training, "failed")
                    return
            if not (run / "card.json").exists():
                # Few images support no rate: then those that it was trained on are scored by others.
                for further in ([], ["--cross-fit", training.images]):
                    if await self._command(["calibrate", str(run), *further], log, lock, stop) in (0, None):
                        break
            if stop.is_set():
                return
            await self._add(training, run)

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

    async def _add(self, training: Training, run: Path) -> None:
        try:
            description = await self._server.scorer.describe(str(run))
            await self._server.scorer.warm(str(run))
        except VtadlError:
            await asyncio.to_thread(self._end, training, "failed")
            return
        with self._server.database.write() as session:
            add_version(session, training.name, run, fingerprint(run), description, why="trained here", by=training.by)
            session.get_one(Training, training.name).state = "done"

    def _end(self, training: Training, state: str) -> None:
        with self._server.database.write() as session:
            session.get_one(Training, training.name).state = state
