"""Does bulk inspection keep its word? 5,000 images, killed twice on the way: each once, and how much memory and time.

python benchmarks/bulk.py [--images 5000] [--side 256] [--preset gaussian] [--set KEY=VALUE]...

It makes the images, trains on 40 of their kind, and calls `vtadl predict` (overlays and anomaly maps included) three
times: the first two are killed with SIGKILL after a third and two thirds of the rows. Memory is the peak of each
process, as the system counts it.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image


def make_images(folder: Path, count: int, side: int) -> None:
    """Smooth noise with grain, as JPEG, 500 to a folder: costs what a photograph costs to decode."""
    for index in range(count):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(60, 200, (12, 12, 3), dtype=np.uint8)).resize((side, side))
        grain = rng.normal(0, 6, (side, side, 3))
        target = folder / f"{index // 500:02}" / f"{index:05}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(target)


def rows(table: Path) -> int:
    """Rows of the table so far."""
    return max(table.read_bytes().count(b"\n") - 1, 0) if table.exists() else 0


def call(command: list[str], table: Path, stop_at: int | None) -> tuple[float, float, int]:
    """Run until the end, or until so many rows are there; seconds, peak gigabytes and exit code."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while stop_at is not None and rows(table) < stop_at and os.waitpid(process.pid, os.WNOHANG) == (0, 0):
        time.sleep(0.02)
    if stop_at is not None:
        process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - started, usage.ru_maxrss / 1e6, process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--preset", default="gaussian")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as vtadl train takes it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_images(root / "train", 40, options.side)
        make_images(root / "images", options.images, options.side)
        vtadl = [sys.executable, "-m", "vtadl"]
        train = ["train", str(root / "train/00"), "--out", str(root / "run"), "--preset", options.preset]
        train += [argument for setting in options.set for argument in ("--set", setting)]
        subprocess.run([*vtadl, *train, "--device", "cpu"], check=True)
        command = [*vtadl, "predict", str(root / "run"), str(root / "images"), "--out", str(root / "out")]
        table = root / "out/predictions.csv"
        for stop_at in (options.images // 3, 2 * options.images // 3, None):
            before = rows(table)
            seconds, gigabytes, code = call([*command, "--device", "cpu"], table, stop_at)
            done = rows(table) - before
            speed = f"{done / seconds:.1f} images/s, peak {gigabytes:.2f} GB"
            print(f"exit {code:>3}: {done} rows in {seconds:.1f} s, {speed}", flush=True)
        with table.open(newline="", encoding="utf-8") as file:
            counts = Counter(row["file"] for row in csv.DictReader(file))
        expected = {str(path) for path in (root / "images").rglob("*.jpg")}
        assert counts.keys() == expected and set(counts.values()) == {1}, "not each image exactly once"
        pictures = sum(1 for _ in (root / "out/overlays").rglob("*.png"))
        assert pictures == len(expected), "not an overlay for each image"
        print(f"each of {len(expected)} images exactly once in the table")


if __name__ == "__main__":
    main()
