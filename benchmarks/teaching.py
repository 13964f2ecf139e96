"""Is teaching the rest of a category as good as training on all of it, and how long does it take? Prints a table.

python benchmarks/teaching.py [--data ../shared/data] [--category mvtec/bottle]... [--shares 0.5,0.9] [--seeds 0,1]

Trains the default on all good images with each seed, then on a share of them and teaches it the others. Metrics at 256
pixels on the test set; each evaluation is counted in benchmarks/looks.jsonl. `images` are those to learn from, before
the held-out ones are taken out.
"""

import argparse
import tempfile
import time
from pathlib import Path

import vtadl
from suite import METRICS, RESOLUTION, ROOT, look
from vtadl.data.layouts import read_category


def row(detector: vtadl.Detector, folder: Path, category: str, what: str, seed: int, seconds: float) -> str:
    look(category, f"teaching: {what}", seed)
    report = vtadl.evaluate(detector, folder, resolution=RESOLUTION)
    metrics = " | ".join(f"{report.metrics[name]:.4f}" for name in METRICS)
    learned = detector.run.source.images
    return f"| {category} | {what}, seed {seed} | {learned} | {seconds:.1f} s | {metrics} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--category", action="append")
    parser.add_argument("--shares", default="0.5,0.9")
    parser.add_argument("--seeds", default="0,1")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    print("| category | detector | images | learned in | " + " | ".join(METRICS) + " |\n|" + "---|" * 7)
    for category in options.category or ["mvtec/transistor", "mvtec/bottle"]:
        folder = options.data / category
        for seed in seeds:
            started = time.perf_counter()
            detector = vtadl.train(folder, seed=seed)
            print(row(detector, folder, category, "trained on all", seed, time.perf_counter() - started), flush=True)
        good = sorted(read_category(folder).train, key=lambda sample: sample.sha256)
        for share in map(float, options.shares.split(",")):
            with tempfile.TemporaryDirectory() as made:
                for number, sample in enumerate(good):
                    name = "first" if number < share * len(good) else "rest"
                    (Path(made) / name).mkdir(exist_ok=True)
                    (Path(made) / name / sample.path.name).symlink_to(sample.path.resolve())
                detector = vtadl.train(Path(made) / "first", seed=seeds[0])
                what = f"{100 * share:g} %"
                print(row(detector, folder, category, f"trained on {what}", seeds[0], 0.0), flush=True)
                taught = vtadl.teach(detector, Path(made) / "rest")
                what = f"trained on {what}, taught the rest"
                print(row(detector, folder, category, what, seeds[0], taught.seconds), flush=True)


if __name__ == "__main__":
    main()
