"""Does the server keep up with `vtadl predict`, in bounded memory, and lose nothing?

Clients send the demo's photographs, as 512 x 512 JPEGs, to `gaussian`; in turns with them `vtadl predict` scores such
files in a process that is warm. Prints images a second, their ratio, latency, memory of server and workers, and
counts; `--write` puts them into docs/server.md.

    python benchmarks/server_load.py [--requests 2000] [--rounds 4] [--clients 16] [--workers 1] [--write]
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import vtadl
from drawn.document import write_between
from vtadl.demo.photographs import PHOTOGRAPHS

SIDE, PORT = 512, 8177
WARM = """
import contextlib, io, sys, time
from vtadl.cli import main
for line in sys.stdin:
    started, busy = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(["predict", *line.split(), "--force"]) == 0
    print(time.perf_counter() - started, time.process_time() - busy, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="in all rounds together")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="the numbers into docs/server.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        pictures = make(root)
        with predicting(root) as predict, serving(root, options.workers) as server:
            load = Load(pictures, options.clients, server.pid)
            each, rounds = options.requests // options.rounds, []
            for number in range(options.rounds):
                rounds.append(Round(*predict(each), *load.run(each)))
                print(f"round {number + 1}: {rounds[-1]}", flush=True)
            stored = count_stored()
        lines = load.report(rounds, stored)
    print("\n".join(lines))
    if options.write:
        write_between("load", lines)


def make(root: Path) -> list[bytes]:
    """A detector in ``root/parts``, and pictures to send."""
    good = root / "good"
    good.mkdir()
    for number, file in enumerate(sorted(PHOTOGRAPHS.glob("*/*/*.jpg"))):
        Image.open(file).convert("RGB").resize((SIDE, SIDE)).save(good / f"{number:03}.jpg", quality=90)
    detector = vtadl.train(good, preset="gaussian")
    scores = [detector.predict(file).score for file in sorted(good.iterdir())[:8]]
    detector.calibrate(threshold=2 * max(scores))
    detector.save(root / "parts")
    return [path.read_bytes() for path in sorted(good.iterdir())]


@contextlib.contextmanager
def predicting(root: Path):
    """Gives a function: images a second of `vtadl predict` over so many files, and its processor seconds for each.

    Its start is not counted: eight files are scored first, and what they take is subtracted.
    """
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [sys.executable, "-c", WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    files = [file.read_bytes() for file in sorted((root / "good").iterdir())]

    def seconds(count: int) -> tuple[float, float]:
        folder = root / f"many-{count}"
        folder.mkdir(exist_ok=True)
        for number in range(count):
            (folder / f"{number:05}.jpg").write_bytes(files[number % len(files)])
        process.stdin.write(f"{root / 'parts'} {folder} --out {root / 'out'}\n")
        process.stdin.flush()
        wall, busy = (float(word) for word in process.stdout.readline().split())
        return wall, busy

    def rate(count: int) -> tuple[float, float]:
        (wall, busy), (start, start_busy) = seconds(count), seconds(8)
        return (count - 8) / (wall - start), (busy - start_busy) / (count - 8)

    seconds(8)
    try:
        yield rate
    finally:
        process.stdin.close()
        process.wait()


@contextlib.contextmanager
def serving(root: Path, workers: int):
    command = [sys.executable, "-m", "vtadl", "serve", str(root / "parts"), "--data", str(root / "data")]
    command += ["--port", str(PORT), "--workers", str(workers)]
    server = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while ask("/readyz")[0] != 200:
            time.sleep(0.2)
        yield server
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


class Round(NamedTuple):
    """Images a second, and processor seconds for each."""

    predicted: float
    predict_busy: float
    served: float
    server_busy: float


class Load:
    """Clients that send one picture after the other, and what they saw."""

    def __init__(self, pictures: list[bytes], clients: int, pid: int) -> None:
        self._pictures, self._clients, self._pid = pictures, clients, pid
        self._lock = threading.Lock()
        self._sent = 0
        self.latencies: list[list[float]] = []
        self.memory: list[int] = []
        self.ids: list[str] = []
        self.busy = 0

    def run(self, requests: int) -> tuple[float, float]:
        """Send so many; images a second, and processor seconds of the server for each."""
        self.latencies.append([])
        left = iter(range(self._sent, self._sent + requests))
        self._sent += requests
        threads = [threading.Thread(target=self._client, args=(left,)) for _ in range(self._clients)]
        started, busy = time.perf_counter(), processor_seconds(self._pid)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - started
        return requests / wall, (processor_seconds(self._pid) - busy) / requests

    def _client(self, left) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
        while True:
            with self._lock:
                number = next(left, None)
            if number is None:
                return
            if number % 20 == 0:
                self.memory.append(resident(self._pid))
            while True:
                started = time.perf_counter()
                status, answer = send(connection, self._pictures[number % len(self._pictures)], f"k{number}")
                if status == 201:
                    break
                self.busy += 1
                time.sleep(0.5)
            with self._lock:
                self.latencies[-1].append(time.perf_counter() - started)
                self.ids.append(answer["inspections"][0]["id"])

    def report(self, rounds: list["Round"], stored: int) -> list[str]:
        """What the rounds gave, a line each, for people and for the document."""
        ratios = [one.served / one.predicted for one in rounds]
        late = []
        for one, latencies in zip(rounds, self.latencies, strict=True):
            late.append(sorted(latencies)[int(0.99 * len(latencies))] / (self._clients / one.served))
        tenth = max(len(self.memory) // 10, 1)
        second, last = (statistics.median(part) for part in (self.memory[tenth : 2 * tenth], self.memory[-tenth:]))
        predicted, predict_busy, served, server_busy = (
            statistics.median(column) for column in zip(*rounds, strict=True)
        )
        return [
            f"- {self._clients} clients: {served:.0f} images a second, `vtadl predict` in turns with them "
            f"{predicted:.0f}: "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)",
            f"- of a processor a picture takes the server {1000 * server_busy:.0f} ms, "
            f"`vtadl predict` {1000 * predict_busy:.0f} ms",
            f"- 99 of 100 answers within {statistics.median(late):.2f} times ({max(late):.2f} in the worst round) what "
            f"{self._clients} waiting clients explain, which is {1000 * self._clients / served:.0f} ms",
            f"- memory of server and worker in the last tenth of {len(self.ids)} requests: {last / 1e6:.0f} MB, "
            f"{100 * (last / second - 1):+.1f} % against the second tenth",
            f"- acknowledged {len(set(self.ids))} of {len(self.ids)}, stored {stored}, busy {self.busy} times",
        ]


def send(connection: http.client.HTTPConnection, picture: bytes, key: str) -> tuple[int, dict]:
    head = b'--X\r\nContent-Disposition: form-data; name="images"; filename="x.jpg"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=X", "Idempotency-Key": key}
    connection.request("POST", "/v1/detectors/parts/inspections", head + picture + b"\r\n--X--\r\n", headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def ask(path: str) -> tuple[int, bytes]:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""


def count_stored() -> int:
    return ask("/v1/inspections/export?format=jsonl")[1].count(b"\n")


def family(pid: int) -> list[int]:
    """A process and its children, whichever of its threads started them."""
    children = (file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children"))
    return [pid, *(int(child) for some in children for child in some)]


def processor_seconds(pid: int) -> float:
    """What a process and its children have computed."""
    ticks = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Bytes of a process and its children."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += 4096 * int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return total


if __name__ == "__main__":
    main()
