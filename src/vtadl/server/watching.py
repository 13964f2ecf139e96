"""A watched folder feeds the same history as the API does; each file once, also across restarts."""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from vtadl.errors import DataError, VtadlError
from vtadl.server.database import Database
from vtadl.server.recording import Context, Recorder, Upload
from vtadl.server.settings import Watched
from vtadl.server.tables import Answer

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
INTERVAL_SECONDS, SETTLE_SECONDS, PATIENCE_SECONDS = 1.0, 2.0, 30.0
BY = "watch"


class Watch:
    """Looks at a folder again and again."""

    def __init__(self, watched: Watched, recorder: Recorder, database: Database) -> None:
        self._watched, self._recorder, self._database = watched, recorder, database
        self._seen: dict[Path, tuple[str, float]] = {}
        """Each file's key and since when it has had it."""
        self._done: set[str] = set()

    async def look(self) -> None:
        """Record the files that nobody has written to for a while."""
        for path, key in await asyncio.to_thread(lambda: list(self._ready())):
            context = Context(source="watch", by=BY, key=key)
            try:
                with path.open("rb") as file:
                    upload = Upload(name=path.name[-255:], content=file)
                    await self._recorder.record(self._watched.detector, [upload], context)
                self._done.add(key)
            except DataError:
                # Its writer may have been held up; after a while it is passed over, until it changes.
                if time.monotonic() - self._seen[path][1] > PATIENCE_SECONDS:
                    self._done.add(key)
            except VtadlError:
                return

    def _ready(self) -> Iterator[tuple[Path, str]]:
        now, present = time.monotonic(), set()
        for path, key in self._files():
            present.add(path)
            if key in self._done:
                continue
            before, since = self._seen.get(path, ("", now))
            if before != key:
                self._seen[path] = (key, now)
            elif now - since >= SETTLE_SECONDS and not self._is_recorded(key):
                yield path, key
        for path in self._seen.keys() - present:
            del self._seen[path]

    def _files(self) -> Iterator[tuple[Path, str]]:
        for place, inner, names in os.walk(self._watched.folder):
            inner.sort()
            for name in sorted(names):
                path = Path(place) / name
                if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                    with contextlib.suppress(OSError):
                        found = path.stat()
                        yield path, f"{hash_of(path)}-{found.st_size}-{found.st_mtime_ns}"

    def _is_recorded(self, key: str) -> bool:
        with self._database.read() as session:
            known = session.scalar(select(Answer.key).where(Answer.key == key, Answer.by == BY)) is not None
        if known:
            self._done.add(key)
        return known


def hash_of(path: Path) -> str:
    """A short name for a path, whatever characters it has."""
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
