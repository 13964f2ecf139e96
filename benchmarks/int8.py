"""What do eight bits cost? Figures in float32 and int8, from the exported models, category by category.

python benchmarks/int8.py [--data ../shared/data] [--preset NAME]... [--category FOLDER]...

Without ``--category``: MVTec's transistors, and the two products of the demo set at their usual size. Each preset is
trained with its defaults and seed 0 and exported to OpenVINO twice; the figures are those of the exported models on
all test images. The bar is a loss of at most 0.005 in image AUROC and in AUPRO@0.3.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vtadl.bundle import Run
from vtadl.config import preset_config
from vtadl.data.demo import make_demo
from vtadl.data.images import read_image, read_mask
from vtadl.data.layouts import Category, read_category
from vtadl.export import export_run, sample_images
from vtadl.metrics import ScoredImage, evaluate
from vtadl.prediction import pick_device
from vtadl.quantization import quantise_run
from vtadl.runtime import Detector, load
from vtadl.training import train_run

FIGURES = ("image_AUROC", "pixel_AUPRO@0.3", "pixel_AUROC", "image_AP")
HELD_TO_THE_BAR = FIGURES[:2]
BAR = 0.005


def measure(detector: Detector, category: Category) -> tuple[dict[str, float | None], float]:
    """Figures on all test images, and the median of milliseconds from pixels to score map."""
    images, times = [], []
    for sample in category.test:
        pixels = read_image(sample.path)
        started = time.perf_counter()
        prediction = detector.predict(pixels)
        times.append(1000 * (time.perf_counter() - started))
        images.append(
            ScoredImage(
                name=sample.path.name,
                defect=sample.label,
                score=prediction.score,
                score_map=prediction.score_map,
                mask=None if sample.mask is None else read_mask(sample.mask, pixels.shape[:2]),
            )
        )
    return evaluate(images, bootstrap=0).figures, statistics.median(times)


def export_both(run: Run, category: Category, folder: Path) -> dict[str, Detector]:
    """The run's exported models, by their precision."""
    export_run(run, folder / "float32", to="openvino", images=sample_images([s.path for s in category.test]))
    made = quantise_run(run, category)
    export_run(made.run, folder / "int8", to="openvino", images=sample_images(made.held_out), int8=made.ranges)
    return {precision: load(folder / precision, threads=2) for precision in ("float32", "int8")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--category", type=Path, action="append")
    parser.add_argument("--preset", action="append", choices=("gaussian", "memory"))
    options = parser.parse_args()
    worst = 0.0
    print(f"| category | preset | precision | {' | '.join(FIGURES)} | ms an image | MB | int8: map, score |")
    print("|---" * (6 + len(FIGURES)) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        roots = options.category or [options.data / "mvtec/transistor", *make_demo(Path(scratch) / "demo")]
        for root in roots:
            category = read_category(root)
            for preset in options.preset or ("gaussian", "memory"):
                run = train_run(preset_config(preset), category, pick_device("cpu"), warn=print)
                folder = Path(scratch) / root.name / preset
                found = {}
                for precision, detector in export_both(run, category, folder).items():
                    found[precision], milliseconds = measure(detector, category)
                    size = sum(file.stat().st_size for file in (folder / precision).glob("model.*")) / 1e6
                    agreement = detector.manifest.agreement
                    figures = " | ".join("–" if (v := found[precision][n]) is None else f"{v:.4f}" for n in FIGURES)
                    print(
                        f"| {root.name} | `{preset}` | {precision} | {figures} | {milliseconds:.1f} | {size:.0f} "
                        f"| {agreement['score_map']:.1g}, {agreement['score']:.1g} |",
                        flush=True,
                    )
                losses = [
                    found["float32"][name] - found["int8"][name] for name in HELD_TO_THE_BAR if found["int8"][name]
                ]
                worst = max(worst, *np.array(losses))
    print(f"\nlargest loss in {' and '.join(HELD_TO_THE_BAR)}: {worst:.4f}, {BAR} allowed")
    sys.exit(1 if worst > BAR else 0)


if __name__ == "__main__":
    main()
