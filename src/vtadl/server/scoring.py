"""A bounded queue of pictures, and the workers that score whatever waits in it."""

import asyncio
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from vtadl.errors import DataError, VtadlError
from vtadl.server import detectors
from vtadl.server.detectors import Picture
from vtadl.server.ray_models import RayModels
from vtadl.threads import thread_count

BATCH = 8
"""Pictures that a worker takes at a time, if so many wait."""


class FullError(VtadlError, RuntimeError):
    """So many pictures wait that no more are taken."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WorkerError(VtadlError, RuntimeError):
    """The process that scored a picture died of it, twice."""


@dataclass(eq=False)
class _Job:
    folder: str
    picture: Picture
    result: asyncio.Future[dict[str, Any]]
    queued: float = field(default_factory=time.perf_counter)


class Scorer:
    """Scores pictures in ``workers`` processes of one model at a time each; with 0 in a thread; or on a Ray cluster."""

    def __init__(
        self,
        workers: int,
        limit: int,
        observe: Callable[[int, float], None] = lambda size, wait: None,
        ray_address: str | None = None,
    ) -> None:
        self._workers, self._limit, self._observe, self._ray_address = workers, limit, observe, ray_address
        self._ray: RayModels | None = None
        self._waiting: deque[_Job] = deque()
        self._arrived = asyncio.Condition()
        self._seconds = 0.05
        self._executors: list[Executor] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.replaced = 0
        """Workers that died."""

    @property
    def waiting(self) -> int:
        """Pictures in the queue."""
        return len(self._waiting)

    def join_ray(self) -> None:
        """Start the models on the Ray cluster, where there is to be one.

        Raises:
            VtadlError: no Ray, or no cluster at the address.
        """
        if self._ray_address is not None:
            self._ray = RayModels(self._ray_address)

    def start(self) -> None:
        """Start the workers, on the running event loop."""
        count = self._workers if self._ray is None else self._ray.slots
        self._executors = [self._executor() for _ in range(max(count, 1))]
        self._tasks = [asyncio.create_task(self._serve(slot)) for slot in range(len(self._executors))]

    async def stop(self) -> None:
        """End the workers; whoever still waits is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for executor in self._executors:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)
        if self._ray is not None:
            await asyncio.to_thread(self._ray.close)

    def check_room(self, count: int = 1) -> None:
        """Refuse pictures that would not fit.

        Raises:
            FullError: too many wait.
        """
        if len(self._waiting) + count > self._limit:
            seconds = max(1, round(len(self._waiting) * self._seconds / len(self._executors)))
            raise FullError(
                f"{len(self._waiting)} pictures wait and at most {self._limit} may; try again in {seconds} s", seconds
            )

    async def score(self, folder: str, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """Score pictures, in turn with those of others.

        Raises:
            FullError: too many wait.
            DataError: a picture that cannot be used; the others are scored and forgotten.
            WorkerError: the worker died of one.
        """
        self.check_room(len(pictures))
        loop = asyncio.get_running_loop()
        jobs = [_Job(folder, picture, loop.create_future()) for picture in pictures]
        self._waiting.extend(jobs)
        async with self._arrived:
            self._arrived.notify(len(jobs))
        results = await asyncio.gather(*(job.result for job in jobs), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results  # type: ignore[return-value]

    async def describe(self, folder: str) -> dict[str, Any]:
        """See `vtadl.server.detectors.describe`."""
        found: dict[str, Any] = await self._call(0, detectors.describe, folder)
        return found

    async def warm(self, folder: str) -> None:
        """Load a detector in every worker."""
        await asyncio.gather(*(self._call(slot, detectors.warm, folder) for slot in range(len(self._executors))))

    async def _serve(self, slot: int) -> None:
        while True:
            async with self._arrived:
                await self._arrived.wait_for(lambda: bool(self._waiting))
                batch = self._take()
            started = time.perf_counter()
            await self._score(slot, batch)
            self._seconds = 0.9 * self._seconds + 0.1 * (time.perf_counter() - started) / len(batch)

    def _take(self) -> list[_Job]:
        """The oldest picture, and those that wait for the same detector."""
        folder = self._waiting[0].folder
        batch = [job for job in self._waiting if job.folder == folder][:BATCH]
        for job in batch:
            self._waiting.remove(job)
            self._observe(len(batch), time.perf_counter() - job.queued)
        return batch

    async def _score(self, slot: int, batch: list[_Job]) -> None:
        try:
            await self._settle(slot, batch)
        except BrokenExecutor:
            # One picture may be what a worker dies of: each is tried once more, alone.
            for job in batch:
                try:
                    await self._settle(slot, [job])
                except BrokenExecutor:
                    name = job.picture.name
                    _fail(job, WorkerError(f"the process that scored '{name}' died twice; is there enough memory?"))

    async def _settle(self, slot: int, batch: list[_Job]) -> None:
        try:
            results = await self._call(slot, detectors.score, batch[0].folder, [job.picture for job in batch])
        except (BrokenExecutor, asyncio.CancelledError):
            raise
        except Exception as error:
            for job in batch:
                _fail(job, error)
            return
        for job, result in zip(batch, results, strict=True):
            if isinstance(result, str):
                _fail(job, DataError(result))
            elif not job.result.done():
                job.result.set_result(result)

    async def _call(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Any:
        executor = self._executors[slot]
        if self._ray is not None:
            function, arguments = self._ray.call, (function, *arguments)
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)
        except BrokenExecutor:
            if self._executors[slot] is executor:
                self._executors[slot] = self._executor()
                self.replaced += 1
            raise

    def _executor(self) -> Executor:
        if self._workers == 0 or self._ray is not None:
            return ThreadPoolExecutor(1, thread_name_prefix="vtadl-score")
        threads = max(1, thread_count() // self._workers)
        return ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=detectors.start_worker,
            initargs=(threads,),
        )


def _fail(job: _Job, error: Exception) -> None:
    if not job.result.done():
        job.result.set_exception(error)
