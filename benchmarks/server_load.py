"""Does the server keep up with `vtadl predict`, in bounded memory, and lose nothing?

Clients send 512 x 512 JPEGs of the demo's flanges to `gaussian`; `vtadl predict` scores such files before and after.
Prints images a second, latency at the median and the 99th percentile, memory of server and workers, and counts.

    python benchmarks/server_load.py [--requests 2000] [--clients 16] [--workers 1]
"""

import argparse
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

from PIL import Image
from vtadl.demo.dataset import Shot, render_shot

import vtadl

SIDE, PICTURES, PORT = 512, 12, 8177


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        pictures = make(root)
        rates = [predict_rate(root, options.requests // 4)]
        measure(root, pictures, options)
        rates.append(predict_rate(root, options.requests // 4))
        print(f"vtadl predict: {' and '.join(f'{rate:.1f}' for rate in rates)} images/s before and after")


def make(root: Path) -> list[bytes]:
    """A detector in ``root/flange``, and pictures to send."""
    good = [
        render_shot(Shot(seed=1, category="flange", split="train", label="good", index=n), SIDE)[0]
        for n in range(PICTURES)
    ]
    folder = root / "images"
    folder.mkdir()
    for number, image in enumerate(good):
        Image.fromarray(image).save(folder / f"{number:03}.jpg", quality=90)
    detector = vtadl.train(folder, preset="gaussian")
    detector.calibrate(threshold=2 * max(detector.predict(image).score for image in good[:4]))
    detector.save(root / "flange")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def predict_rate(root: Path, count: int) -> float:
    """Images a second of `vtadl predict`, its start not counted."""
    folder = root / "many"
    folder.mkdir(exist_ok=True)
    files = sorted((root / "images").iterdir())
    for number in range(count):
        target = folder / f"{number:05}.jpg"
        if not target.exists():
            target.write_bytes(files[number % len(files)].read_bytes())
    seconds = []
    for source in (root / "images", folder):
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "vtadl",
            "predict",
            str(root / "flange"),
            str(source),
            "--out",
            str(root / "out"),
        ]
        subprocess.run([*command, "--force"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return (count - len(files)) / (seconds[1] - seconds[0])


def measure(root: Path, pictures: list[bytes], options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "vtadl", "serve", str(root / "flange"), "--data", str(root / "data")]
    command += ["--port", str(PORT), "--workers", str(options.workers)]
    server = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while ask("GET", "/readyz")[0] != 200:
            time.sleep(0.2)
        latencies, memory, ids, busy = [], [], [], [0]
        lock, left = threading.Lock(), list(range(options.requests))

        def client() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
            while True:
                with lock:
                    if not left:
                        return
                    number = left.pop()
                    if number % max(options.requests // 50, 1) == 0:
                        memory.append(resident(server.pid))
                while True:
                    started = time.perf_counter()
                    status, answer = send(connection, pictures[number % len(pictures)], f"k{number}")
                    if status == 201:
                        break
                    busy[0] += 1
                    time.sleep(0.5)
                with lock:
                    latencies.append(time.perf_counter() - started)
                    ids.append(answer["inspections"][0]["id"])

        started = time.perf_counter()
        threads = [threading.Thread(target=client) for _ in range(options.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        stored = count_stored()
        latencies.sort()
        tenth = max(len(memory) // 10, 1)
        rate = options.requests / seconds
        median, late = (1000 * at for at in (statistics.median(latencies), latencies[int(0.99 * len(latencies))]))
        print(f"server: {rate:.1f} images/s; latency {median:.0f} ms at the median, {late:.0f} ms at 99 %;")
        print(f"  {1000 * options.clients / rate:.0f} ms is what {options.clients} waiting clients explain")
        print(f"memory: {memory[tenth] / 1e6:.0f} MB in the second tenth, {max(memory[-tenth:]) / 1e6:.0f} in the last")
        print(f"acknowledged {len(set(ids))} of {options.requests}, stored {stored}, {busy[0]} times busy")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def send(connection: http.client.HTTPConnection, picture: bytes, key: str) -> tuple[int, dict]:
    head = b'--X\r\nContent-Disposition: form-data; name="images"; filename="x.jpg"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=X", "Idempotency-Key": key}
    connection.request("POST", "/v1/detectors/flange/inspections", head + picture + b"\r\n--X--\r\n", headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def ask(method: str, path: str) -> tuple[int, bytes]:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""


def count_stored() -> int:
    return ask("GET", "/v1/inspections/export?format=jsonl")[1].count(b"\n")


def resident(pid: int) -> int:
    """Bytes of a process and its children."""
    pids = [pid, *(int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    total = 0
    for one in pids:
        try:
            total += 4096 * int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except OSError:
            continue
    return total


if __name__ == "__main__":
    main()
