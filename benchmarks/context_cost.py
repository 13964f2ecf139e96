"""What the presets `context` and `fast` cost, and what `fast` loses. Prints docs/context.md's numbers.

python benchmarks/context_cost.py [--category ../shared/data/mvtec/transistor]

Trains each once (seed 0), writes it down, and scores test images one by one, decoding included. Times are of this
machine and moment: state both, and let nothing run beside it.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

import vtadl
from vtadl.data.layouts import read_category

DEFAULT = Path(__file__).resolve().parents[2] / "shared/data/mvtec/transistor"
WARMING, TIMED = 3, 40


def milliseconds(detector: vtadl.Detector, paths: list[Path]) -> float:
    """Median of scoring one image."""
    times = []
    for path in paths:
        started = time.perf_counter()
        detector.predict(path)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[WARMING:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", type=Path, default=DEFAULT)
    folder = parser.parse_args().category
    paths = [sample.path for sample in read_category(folder).test][: WARMING + TIMED]
    print("| preset | training | an image | run folder | image AUROC | AUPRO@0.3 |\n|---|---|---|---|---|---|")
    for preset in ("context", "fast"):
        started = time.perf_counter()
        detector = vtadl.train(folder, preset=preset, seed=0)
        seconds = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as run:
            detector.save(Path(run) / "run")
            megabytes = sum(file.stat().st_size for file in (Path(run) / "run").iterdir()) / 1e6
        one = milliseconds(detector, paths)
        metrics = vtadl.evaluate(detector, folder).metrics
        auroc, aupro = (metrics[name] for name in ("image_AUROC", "pixel_AUPRO@0.3"))
        shown = f"{auroc:.4f} | {'–' if aupro is None else f'{aupro:.4f}'}"
        print(f"| `{preset}` | {seconds:.0f} s | {one:.0f} ms | {megabytes:.0f} MB | {shown} |", flush=True)
    print(f"\n{datetime.now(UTC).date()}, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
