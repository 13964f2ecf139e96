"""`vtadl serve` as a process of its own, and a client that takes "no answer" for an answer."""

import concurrent.futures
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from helpers.forks import context
from helpers.server_client import DEFECTIVE, GOOD
from vtadl.cli import main

CLIENTS = 3
SECONDS = 240


class ServerProcess:
    """A server on a free port, always the same one."""

    def __init__(self, data: Path, folders: list[Path], *flags: str) -> None:
        self.data, self.process = data, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        names = [str(folder) for folder in folders]
        self._arguments = ["serve", *names, "--data", str(data), "--port", str(port), *flags]

    def start(self, seconds: float = SECONDS) -> None:
        """Start, and wait until it is ready."""
        # A group of its own: what is killed is killed with its workers, as by a power cut.
        command = [sys.executable, "-m", "vtadl", *self._arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, start_new_session=True, env=environment)
        self._wait_until_ready(seconds)

    def _wait_until_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._is_running(), "the server left"
            if fetch(f"{self.url}/readyz") is not None:
                return
            time.sleep(0.05)
        raise AssertionError("the server is not ready")

    def _is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self, number: int) -> int:
        """End in order; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(SECONDS)
        finally:
            self.kill()


class ForkedServer(ServerProcess):
    """The same, forked from a process that has loaded everything: it starts in a moment, but without workers."""

    def start(self, seconds: float = SECONDS) -> None:
        """Start, and wait until it is ready."""
        self.process = context().Process(target=_serve, args=(self._arguments,), daemon=True)
        self.process.start()
        self._wait_until_ready(seconds)

    def _is_running(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.join()


def _serve(arguments: list[str]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(main(arguments))


def fetch(url: str, body: bytes | None = None, headers: dict[str, str] | None = None, method: str | None = None):
    """The JSON of an answer; `None`: there was none, or it was an error."""
    request = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return None


def post(url: str, picture: bytes, key: str):
    """Send a picture; the inspection, if it was acknowledged."""
    status, answer = request(url, picture, key)
    return answer["inspections"][0] if status == 201 else None


def request(url: str, picture: bytes, key: str):
    """Send a picture; status and JSON of the answer, or 0 and `None` where there was none."""
    body = (
        b'--X\r\nContent-Disposition: form-data; name="images"; filename="part.png"\r\n\r\n'
        + picture
        + b"\r\n--X--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=X", "Idempotency-Key": key}
    sent = urllib.request.Request(f"{url}/v1/detectors/parts/inspections", body, headers)
    try:
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return 0, None


def all_inspections(url: str) -> list[dict]:
    """The whole history."""
    found, before = [], ""
    while True:
        page = fetch(f"{url}/v1/inspections?limit=200{before}")
        assert page is not None
        found += page["inspections"]
        if page["next"] is None:
            return found
        before = f"&before={page['next']}"


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
            for number in range(kills):
                server.start()
                # Every second server may first acknowledge something, however slow the machine is.
                known, deadline = len(acknowledged), time.monotonic() + SECONDS
                while number % 2 and len(acknowledged) == known and time.monotonic() < deadline:
                    time.sleep(0.01)
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
