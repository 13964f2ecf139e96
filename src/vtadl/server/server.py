"""A running server's parts, and its life: start, background work, stop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from fastapi import FastAPI, Request
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from vtadl.server.background import Background
from vtadl.server.database import Database
from vtadl.server.detectors import fingerprint
from vtadl.server.metrics import Metrics
from vtadl.server.new_versions import make_version
from vtadl.server.recording import Recorder
from vtadl.server.scoring import Scorer
from vtadl.server.security import Guard
from vtadl.server.settings import Settings
from vtadl.server.storage import Storage
from vtadl.server.tables import Detector
from vtadl.server.trainings import Trainings
from vtadl.server.versions import active_version, is_known, name_of


class Server:
    """Everything that the routes need."""

    def __init__(self, settings: Settings, folders: Sequence[Path]) -> None:
        self.settings, self._folders = settings, folders
        self.storage = Storage(settings.data)
        self.database = Database(settings.database_url)
        self.metrics = Metrics()
        self.scorer = Scorer(settings.workers, settings.queue, self.metrics.taken, settings.ray)
        self.guard = Guard(self.database, settings.host)
        self.recorder = Recorder(
            self.database, self.storage, self.scorer, self.metrics, max_image_bytes=settings.max_image_bytes
        )
        self.trainings = Trainings(self)
        self.ready = False
        self.metrics.gauge("vtadl_queue_pictures", "Pictures that wait", lambda: self.scorer.waiting)
        self.metrics.gauge("vtadl_workers_replaced", "Workers that died", lambda: self.scorer.replaced)

    def prepare(self) -> None:
        """Bring the database up to date, look at the folders, and join the Ray cluster.

        Raises:
            VtadlError: what the command line named cannot be used.
        """
        self.database.migrate()
        for folder in self._folders:
            name_of(folder)
            fingerprint(folder)
        self.scorer.join_ray()

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Run from start to stop; what was accepted is finished before the end."""
        app.state.server = self
        self.scorer.start()
        background = Background(self)
        try:
            await self._add_folders()
            with self.database.read() as session:
                names = session.scalars(select(Detector.name)).all()
                active = [active_version(session, name).folder for name in names]
            await asyncio.gather(*(self.scorer.warm(str(self.storage.root / folder)) for folder in active))
            background.start()
            self.ready = True
            yield
        finally:
            self.ready = False
            await background.stop()
            await self.scorer.stop()
            self.database.close()

    async def _add_folders(self) -> None:
        """Add the folders of the command line that are new, or were changed since they were added."""
        for folder in self._folders:
            with self.database.read() as session:
                known = is_known(session, name_of(folder), fingerprint(folder))
            if not known:
                # Another server on the same database may add it at the same moment.
                with contextlib.suppress(IntegrityError):
                    await make_version(self, name_of(folder), folder, why=f"vtadl serve {folder}", by="serve")


def server_of(request: Request) -> Server:
    """The server that answers a request."""
    return cast("Server", request.app.state.server)
