"""How fast is the torch-free runtime? Import, loading, and an image at 256 x 256, beside PyTorch on the same threads.

python benchmarks/runtime_speed.py [--preset gaussian] [--to onnx] [--threads 2] [--side 256]

Every measurement runs in a process of its own. Besides the median it prints the fastest run: on a machine with other
work the median measures that work too.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RUNS = 100
IMPORTS = 7


def timed(call, runs: int = RUNS) -> dict[str, float]:
    for _ in range(5):
        call()
    times, started_cpu = [], time.process_time()
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return {
        "median": statistics.median(times),
        "fastest": min(times),
        "cpu": 1000 * (time.process_time() - started_cpu) / runs,
    }


def image_of(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def imported() -> dict[str, float]:
    started = time.perf_counter()
    import onnxruntime  # noqa: F401

    import vtadl.runtime  # noqa: F401

    return {"ms": 1000 * (time.perf_counter() - started)}


def exported(folder: str, threads: int, side: int) -> dict[str, float]:
    import vtadl.runtime

    started = time.perf_counter()
    detector = vtadl.runtime.load(folder, threads=threads)
    loading = 1000 * (time.perf_counter() - started)
    image = image_of(side)
    assert "torch" not in sys.modules
    return {"load": loading, **timed(lambda: detector.predict(image))}


def original(folder: str, threads: int, side: int) -> dict[str, float]:
    import torch

    import vtadl

    torch.set_num_threads(threads)
    detector, image = vtadl.load(folder, device="cpu"), image_of(side)
    return timed(lambda: detector.predict(image))


def make(folder: str, preset: str, side: int, to: str) -> dict[str, float]:
    import vtadl
    from drawn.dataset import make_demo
    from vtadl.export.export import export_run, sample_images

    category = make_demo(Path(folder) / "demo", train=20, test_good=1, test_per_defect=1)[-1]
    few = {"steps": 3, "batch_size": 2} if preset == "paper" else None
    detector = vtadl.train(category, preset=preset, model={"image_size": side}, training=few, device="cpu")
    detector.save(f"{folder}/run")
    return {"MB": export_run(detector.run, Path(folder) / "run" / to, to=to, images=sample_images(None)).megabytes}


def alone(step: str, *arguments: object) -> dict[str, float]:
    """Run a step in a process of its own."""
    words = [sys.executable, "-W", "ignore", __file__, "--step", step, json.dumps(arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="gaussian")
    parser.add_argument("--to", default="onnx", choices=["onnx", "openvino"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        steps = {"import": imported, "exported": exported, "original": original, "make": make}
        print(json.dumps(steps[options.step[0]](*json.loads(options.step[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        size = alone("make", scratch, options.preset, options.side, options.to)["MB"]
        imports = [alone("import")["ms"] for _ in range(IMPORTS)]
        median = statistics.median(imports)
        print(f"import of vtadl.runtime and onnxruntime: median {median:.0f} ms, fastest {min(imports):.0f} ms")
        print(f"'{options.preset}' at {options.side} x {options.side}, {options.threads} threads, export {size:.1f} MB")
        print(f"{'':<10}{'load ms':>9}{'median ms':>11}{'fastest ms':>12}{'CPU ms':>9}")
        theirs = alone("exported", f"{scratch}/run/{options.to}", options.threads, options.side)
        ours = alone("original", f"{scratch}/run", options.threads, options.side)
        for name, found in ((options.to, theirs), ("pytorch", ours)):
            print(
                f"{name:<10}{found.get('load', float('nan')):>9.0f}{found['median']:>11.1f}{found['fastest']:>12.1f}"
                f"{found['cpu']:>9.1f}"
            )


if __name__ == "__main__":
    main()
