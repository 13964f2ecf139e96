"""What do fitting and predicting cost, and how do they grow? Times, memory and size, on images that it makes.

python benchmarks/speed.py [--category FOLDER] [--preset gaussian] [--beside SOURCE [--rounds 3]]

Without ``--category`` it makes a set of 512 x 512 photographs-like images. Each measurement runs in a process of its
own, so that peak memory is that step's alone. ``--preset default`` names no preset. With ``--beside`` another state of
the package, such as ``../before/src`` after ``git worktree add ../before COMMIT``, is measured in turns with this one;
then medians of all rounds and the ratio are printed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parents[1] / "src"
COUNTS = (50, 100, 200, 400)


def make_images(folder: Path, count: int, side: int = 512) -> None:
    """Smooth noise with grain, as JPEG: costs what a photograph costs to decode."""
    folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(60, 200, (24, 24, 3), dtype=np.uint8)).resize((side, side))
        grain = rng.normal(0, 6, (side, side, 3))
        Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(folder / f"{index:04}.jpg")


def fit(folder: str, preset: str, out: str) -> dict[str, float]:
    import vtadl

    started = time.perf_counter()
    named = {} if preset == "default" else {"preset": preset}
    vtadl.train(folder, device="cpu", **named).save(out)
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in Path(out).iterdir())
    return {"seconds": seconds, "megabytes": size / 1e6, "peak_gigabytes": peak()}


def predict(folder: str, preset: str, run: str) -> dict[str, float]:
    import vtadl

    detector = vtadl.load(run, device="cpu")
    found = (file for file in Path(folder).rglob("*") if file.suffix in (".jpg", ".png"))
    files = sorted(file for file in found if "ground_truth" not in file.parts)[:60]
    times = []
    for file in files:
        started = time.perf_counter()
        detector.predict(file)
        times.append(time.perf_counter() - started)
    return {"milliseconds": 1000 * statistics.median(times[5:]), "peak_gigabytes": peak()}


def peak() -> float:
    """Peak resident memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def alone(step: str, *arguments: str, source: Path = HERE) -> dict[str, float]:
    """Run a step in a process of its own, by the package in ``source``."""
    done = subprocess.run(
        [sys.executable, __file__, "--step", step, *arguments],
        env={**os.environ, "PYTHONPATH": str(source)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def beside(other: Path, folder: Path, preset: str, rounds: int, scratch: str) -> None:
    """Fit and predict by two states of the package, in turns; print medians and what this one's are of the other's."""
    measured: dict[str, dict[Path, list[float]]] = {}
    for number in range(rounds):
        for source in (other, HERE):
            run = f"{scratch}/{number}-{source == HERE}"
            fitted = alone("fit", str(folder), preset, run, source=source)
            scored = alone("predict", str(folder), preset, run, source=source)
            for name, value in {
                "fit, seconds": fitted["seconds"],
                "fit, peak GB": fitted["peak_gigabytes"],
                "run folder, MB": fitted["megabytes"],
                "one image, ms": scored["milliseconds"],
                "predict, peak GB": scored["peak_gigabytes"],
            }.items():
                measured.setdefault(name, {}).setdefault(source, []).append(value)
    print(f"{'':>18} {'beside':>8} {'this':>8} {'ratio':>6}   preset {preset}, {folder.name}, medians of {rounds}")
    for name, values in measured.items():
        before, now = (statistics.median(values[source]) for source in (other, HERE))
        print(f"{name:>18} {before:>8.2f} {now:>8.2f} {now / before:>6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", type=Path)
    parser.add_argument("--preset", default="gaussian")
    parser.add_argument("--beside", type=Path, metavar="SOURCE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", nargs=4, metavar=("STEP", "FOLDER", "PRESET", "RUN"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, *rest = options.step
        print(json.dumps({"fit": fit, "predict": predict}[step](*rest)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.beside:
            folder = options.category or Path(scratch) / "made"
            if not options.category:
                make_images(folder / "train/good", 200)
            beside(options.beside.resolve(), folder, options.preset, options.rounds, scratch)
            return
        print(f"preset {options.preset}\n{'images':>8} {'fit s':>8} {'ms each':>8} {'run MB':>8} {'peak GB':>8}")
        folders = [options.category] if options.category else []
        for count in () if options.category else COUNTS:
            folders.append(Path(scratch) / f"set{count}")
            make_images(folders[-1] / "train/good", count)
        for folder in folders:
            run = f"{scratch}/run-{folder.name}"
            fitted = alone("fit", str(folder), options.preset, run)
            count = json.loads(Path(run, "run.json").read_text())["source"]["trained_on"]
            each = 1000 * fitted["seconds"] / count
            print(
                f"{count:>8} {fitted['seconds']:>8.1f} {each:>8.1f} {fitted['megabytes']:>8.1f} "
                f"{fitted['peak_gigabytes']:>8.2f}",
                flush=True,
            )
        scored = alone("predict", str(folders[-1]), options.preset, run)
        print(f"predict: median {scored['milliseconds']:.1f} ms an image, peak {scored['peak_gigabytes']:.2f} GB")


if __name__ == "__main__":
    main()
