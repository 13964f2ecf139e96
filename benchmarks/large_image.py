"""How much memory does one very large image take? Trains on a few of 4,000 x 6,000 pixels and scores one.

python benchmarks/large_image.py [--preset memory] [--height 4000] [--width 6000] [--image-size 2048]

Training and scoring run in processes of their own, whose peak is what the system counts. A scratch of 3 pixels' width
is drawn in the scored image: the map's maximum should lie on it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

TRAINED_ON = 4
SCORE = """
import sys, time, numpy, vtadl
detector = vtadl.load(sys.argv[1])
started = time.perf_counter()
found = detector.predict(sys.argv[2])
row, column = numpy.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
print(found.anomaly_map.shape, row, column, round(time.perf_counter() - started, 1))
"""


def make_image(path: Path, height: int, width: int, seed: int, *, scratched: bool) -> None:
    """A brushed surface with grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(90, 160, (height // 4, 8), dtype=np.uint8)).resize((width, height))
    pixels = np.asarray(coarse, np.int16) + rng.integers(-8, 9, (height, width), dtype=np.int16)
    if scratched:
        for step in range(400):
            pixels[2900 + step // 2 : 2903 + step // 2, 4000 + step] += 70
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB").save(path, quality=92)


def peak_gigabytes(command: list[str]) -> tuple[float, float, str]:
    """Peak memory and seconds of a command, and what it printed."""
    started = time.perf_counter()
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    *lines, kilobytes = done.stdout.strip().splitlines()
    return int(kilobytes) / 1e6, time.perf_counter() - started, "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=["gaussian", "memory"], default="memory")
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--image-size", type=int, default=2048)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "good").mkdir()
        for seed in range(TRAINED_ON):
            make_image(folder / f"good/{seed}.jpg", options.height, options.width, seed, scratched=False)
        make_image(folder / "new.jpg", options.height, options.width, TRAINED_ON, scratched=True)
        vtadl = [
            str(Path(sys.executable).parent / "vtadl"),
            "train",
            str(folder / "good"),
            "--out",
            str(folder / "run"),
        ]
        settings = [f"model.image_size={options.image_size}", "model.aspect=1"]
        chosen = ["--preset", options.preset, *(word for setting in settings for word in ("--set", setting))]
        gigabytes, seconds, _ = peak_gigabytes([*vtadl, *chosen])
        print(f"training on {TRAINED_ON} images: peak {gigabytes:.2f} GB, {seconds:.0f} s")
        gigabytes, seconds, said = peak_gigabytes(
            [sys.executable, "-c", SCORE, str(folder / "run"), str(folder / "new.jpg")]
        )
        print(f"scoring one: peak {gigabytes:.2f} GB, {seconds:.0f} s; size, row and column of the maximum, s: {said}")


if __name__ == "__main__":
    main()
