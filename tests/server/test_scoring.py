"""The queue is bounded, batches are what waits, dead workers are replaced, and a full disk is said and survived."""

import asyncio
import errno
import os
import signal
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from helpers.categories import good_image
from helpers.server_client import DEFECTIVE, GOOD, png, send, stored_files
from vtadl.errors import DataError
from vtadl.server import detectors
from vtadl.server.detectors import Picture
from vtadl.server.scoring import BATCH, FullError, Scorer, WorkerError


def pictures(folder: Path, count: int) -> list[Picture]:
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(good_image(number)))
    return [Picture(str(folder / f"{n}.png"), str(folder / f"{n}.tiff"), f"{n}.png") for n in range(count)]


def scored(scorer: Scorer, work):
    async def run():
        scorer.start()
        try:
            return await work()
        finally:
            await scorer.stop()

    return asyncio.run(run())


def test_whatever_waits_is_scored_together(run_folder, tmp_path):
    sizes, ones = [], pictures(tmp_path, 12)
    scorer = Scorer(0, 100, lambda size, wait: sizes.append(size))
    together = scored(scorer, lambda: scorer.score(str(run_folder), ones))
    assert max(sizes) == BATCH and len(sizes) == 12
    alone = Scorer(0, 100)
    apart = scored(alone, lambda: asyncio.gather(*(alone.score(str(run_folder), [one]) for one in ones[:2])))
    assert [one["score"] for one in together[:2]] == [one[0]["score"] for one in apart]


def test_a_bad_picture_spoils_no_other(run_folder, tmp_path):
    ones = pictures(tmp_path, 2)
    bad = Picture(str(tmp_path / "none"), str(tmp_path / "none.tiff"), "sent.png")
    scorer = Scorer(0, 10)

    async def work():
        return await asyncio.gather(
            *(scorer.score(str(run_folder), [one]) for one in (ones[0], bad, ones[1])), return_exceptions=True
        )

    first, error, last = scored(scorer, work)
    assert first[0]["score"] and last[0]["score"]
    assert isinstance(error, DataError) and "'sent.png' does not exist" in str(error)


def test_a_full_queue_says_when_to_come_back(run_folder, tmp_path):
    ones, scorer = pictures(tmp_path, 3), Scorer(0, 2)

    async def work():
        with pytest.raises(FullError) as caught:
            await scorer.score(str(run_folder), ones)
        return caught.value

    assert scored(scorer, work).retry_after >= 1


def test_a_full_queue_is_503(serve):
    client = serve(queue=1)
    answer = send(client, GOOD, GOOD)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert send(client, GOOD).status_code == 201


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_pictures_scored(export_folder, tmp_path):
    ones, scorer = pictures(tmp_path, 2), Scorer(1, 10)

    async def work():
        await scorer.warm(str(export_folder))
        (process,) = scorer._executors[0]._processes.values()
        os.kill(process.pid, signal.SIGKILL)
        results = await scorer.score(str(export_folder), ones)
        return [one["verdict"] for one in results]

    assert scored(scorer, work) == ["good", "good"]
    assert scorer.replaced >= 1


def test_what_kills_a_worker_twice_is_an_error_of_its_own(run_folder, tmp_path, monkeypatch):
    ones, scorer = pictures(tmp_path, 2), Scorer(0, 10)
    honest = detectors.score

    def dies_of_the_first(folder, batch):
        if any(one.name == "0.png" for one in batch):
            raise BrokenExecutor
        return honest(folder, batch)

    monkeypatch.setattr(detectors, "score", dies_of_the_first)

    async def work():
        return await asyncio.gather(*(scorer.score(str(run_folder), [one]) for one in ones), return_exceptions=True)

    error, fine = scored(scorer, work)
    assert isinstance(error, WorkerError) and "'0.png'" in str(error)
    assert fine[0]["verdict"] == "good"


@pytest.mark.parametrize("place", ["save_upload", "publish"])
def test_a_full_disk_is_507_and_nothing_half_is_kept(client, tmp_path, monkeypatch, place):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = "vtadl.server.recording.save_upload" if place == "save_upload" else "vtadl.server.storage.sync"
    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        answer = send(client, GOOD, DEFECTIVE)
    assert answer.status_code == 507 and "make room" in answer.json()["detail"]
    assert not stored_files(tmp_path / "data")
    assert send(client, GOOD).status_code == 201
    assert len(client.get("/v1/inspections").json()["inspections"]) == 1
