"""Nothing that was acknowledged is lost, whatever ends the server: real processes, really killed."""

import concurrent.futures
import hashlib
import random
import signal
import threading
import time

import pytest

from server_client import DEFECTIVE, GOOD
from server_process import ServerProcess, all_inspections, post

CLIENTS = 3


def kill_under_load(server: ServerProcess, kills: int, seconds: tuple[float, float], seed: int = 0) -> dict[str, dict]:
    """Restart a server again and again under load; what it acknowledged, by idempotency key."""
    chance, acknowledged, stop = random.Random(seed), {}, threading.Event()

    def send(worker: int) -> None:
        number = 0
        while not stop.is_set():
            key = f"{worker}-{number}"
            answer = post(server.url, GOOD if number % 2 else DEFECTIVE, key=key)
            if answer is None:
                time.sleep(0.05)  # Not acknowledged: the same key is sent again.
                continue
            acknowledged[key] = answer
            number += 1

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        sending = [pool.submit(send, worker) for worker in range(CLIENTS)]
        try:
            for _ in range(kills):
                server.start()
                time.sleep(chance.uniform(*seconds))
                server.kill()
            server.start()
            time.sleep(0.5)
        finally:
            stop.set()
            for one in sending:
                one.result()
    return acknowledged


def check_nothing_lost(server: ServerProcess, acknowledged: dict[str, dict]) -> None:
    stored = all_inspections(server.url)
    assert len({one["id"] for one in stored}) == len(stored)
    told = {one["id"]: one for one in acknowledged.values()}
    assert len(told) == len(acknowledged)
    by_id = {one["id"]: one for one in stored}
    assert {identifier: by_id.get(identifier) for identifier in told} == told
    # Each client may have had one request on its way when the last server stopped.
    assert len(stored) - len(told) <= CLIENTS
    hashes = {hashlib.sha256(content).digest() for content in (GOOD, DEFECTIVE)}
    for one in stored:
        picture = next(server.data.glob(f"pictures/*/*/{one['id']}.png"))
        assert hashlib.sha256(picture.read_bytes()).digest() in hashes
        assert next(server.data.glob(f"maps/*/*/{one['id']}.tiff")).stat().st_size > 1000


def test_kill_9_under_load(run_folder, tmp_path):
    server = ServerProcess(tmp_path / "data", [run_folder], "--workers", "0")
    try:
        acknowledged = kill_under_load(server, kills=5, seconds=(0.0, 0.5))
        assert acknowledged
        check_nothing_lost(server, acknowledged)
    finally:
        code = server.stop(signal.SIGTERM)
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_kill_9_at_200_moments(run_folder, tmp_path, workers):
    server = ServerProcess(tmp_path / "data", [run_folder], "--workers", workers)
    try:
        acknowledged = kill_under_load(server, kills=100, seconds=(0.0, 2.0), seed=1)
        assert len(acknowledged) > 100
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()
