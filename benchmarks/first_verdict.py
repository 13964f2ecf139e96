"""How long from a folder of photos to the first verdict? Prints a table of wall and processor seconds.

python benchmarks/first_verdict.py [--images 60] [--side 512] [--photos FOLDER] [--preset NAME]

Runs the three commands of README's first page, each as a process of its own, with the default preset: train, calibrate
(which cross-fits, as so few images are held out) and predict on one photo. Without --photos, drawn parts are saved as
JPEGs. Run it on a quiet machine: the load that it finds is printed with the numbers.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image


def draw(folder: Path, count: int, side: int) -> None:
    """Parts with a ring, grain and a little play, as JPEGs."""
    folder.mkdir()
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    for number in range(count):
        rng = np.random.default_rng(number)
        radius = np.hypot(rows - rng.normal(0, 0.005), columns - rng.normal(0, 0.005))
        part = 60 + 120 * (radius < 0.4) - 70 * (np.abs(radius - 0.25) < 0.03)
        pixels = part[..., None] * [1.0, 0.95, 0.85] + rng.normal(0, 4, (side, side, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=92)


def timed(*arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "vtadl", *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--photos", type=Path, help="folder of good photos, in place of drawn ones")
    parser.add_argument("--preset", default="fusion")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        parts, run, new = Path(made) / "parts", Path(made) / "run", Path(made) / "new"
        if options.photos is None:
            draw(parts, options.images, options.side)
        photos = options.photos or parts
        new.mkdir()
        sample = sorted(path for path in photos.iterdir() if path.is_file())[0]
        (new / sample.name).write_bytes(sample.read_bytes())
        steps = {
            "train": ("train", str(photos), "--out", str(run), "--preset", options.preset),
            "calibrate": ("calibrate", str(run)),
            "predict, one photo": ("predict", str(run), str(new)),
        }
        seconds = {name: timed(*command) for name, command in steps.items()}
    print("| command | seconds | processor seconds |\n|---|--:|--:|")
    for name, (wall, used) in seconds.items():
        print(f"| {name} | {wall:.1f} | {used:.1f} |")
    wall, used = (sum(column) for column in zip(*seconds.values(), strict=True))
    print(f"| to the first verdict | {wall:.1f} | {used:.1f} |")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    what = f"{options.images} photos of {options.side} pixels" if options.photos is None else str(options.photos)
    print(f"\n{what}, preset {options.preset}, {os.cpu_count()} cores, load {load}, {datetime.now(UTC).date()}.")


if __name__ == "__main__":
    main()
