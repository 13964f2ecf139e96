"""What a server does besides answering: webhooks, retention, drift, rescoring, watched folders, trainings."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from vtadl.errors import VtadlError
from vtadl.server import drift, rescoring, retention, trainings, watching, webhooks

if TYPE_CHECKING:
    from vtadl.server.server import Server


class Background:
    """Tasks that run beside the server and end with it, each after what it is at."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        server, database = self._server, self._server.database
        again = rescoring.Rescoring(database, server.storage, server.scorer)
        self._add(webhooks.INTERVAL_SECONDS, partial(asyncio.to_thread, webhooks.deliver_due, database))
        self._add(retention.INTERVAL_SECONDS, partial(asyncio.to_thread, retention.tidy, database, server.storage))
        self._add(drift.INTERVAL_SECONDS, partial(asyncio.to_thread, drift.note_drift, database, server.metrics))
        self._add(rescoring.INTERVAL_SECONDS, again.work)
        self._add(trainings.INTERVAL_SECONDS, partial(server.trainings.work, self._stop))
        for watched in server.settings.watched:
            self._add(watching.INTERVAL_SECONDS, watching.Watch(watched, server.recorder, database).look)

    async def stop(self) -> None:
        """End."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def _add(self, interval: float, work: Callable[[], Awaitable[object]]) -> None:
        self._tasks.append(asyncio.create_task(self._repeat(interval, work)))

    async def _repeat(self, interval: float, work: Callable[[], Awaitable[object]]) -> None:
        """Work again and again: at once after work that found something to do, else after a pause."""
        while not self._stop.is_set():
            worked: object = False
            try:
                worked = await work()
            except (SQLAlchemyError, OSError, VtadlError):
                pass  # A database that is away, a full queue or disk: what is to be done waits where it is.
            except Exception:
                logging.getLogger(__name__).exception("background work failed, and is tried again")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.0 if worked else interval)
