"""What a server does besides answering: webhooks, retention, drift, rescoring, watched folders, trainings."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from vtadl.server.drift import watch_drift
from vtadl.server.rescoring import Rescoring
from vtadl.server.retention import keep_forever
from vtadl.server.watching import Watch
from vtadl.server.webhooks import deliver_forever

if TYPE_CHECKING:
    from vtadl.server.server import Server


class Background:
    """Tasks that run beside the server and end with it."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        server = self._server
        self._add(deliver_forever(server.database, self._stop))
        self._add(keep_forever(server.database, server.storage, self._stop))
        self._add(watch_drift(server.database, server.metrics, self._stop))
        self._add(Rescoring(server.database, server.storage, server.scorer).forever(self._stop))
        self._add(server.trainings.forever(self._stop))
        for watched in server.settings.watched:
            self._add(Watch(watched, server.recorder, server.database).forever(self._stop))

    async def stop(self) -> None:
        """End each task after what it is at."""
        self._stop.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))
