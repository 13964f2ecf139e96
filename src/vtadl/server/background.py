"""What a server does besides answering: webhooks, retention, leftovers, trainings."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

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
        self._add(deliver_forever(self._server.database, self._stop))

    async def stop(self) -> None:
        """End each task after what it is at."""
        self._stop.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))
