"""Do exported models say what PyTorch says? The largest differences, preset by preset and kind by kind.

python benchmarks/export_parity.py [--category FOLDER] [--preset NAME]... [--to onnx]... [--set KEY=VALUE]...

Each preset is trained on the category (without ``--category``: on the demo's flanges), one that takes steps for a few,
since agreement does not depend on quality. A threshold by hand, at the median of the test images' scores, makes half of
them defective. The bar is a map within 1e-4 of its highest score, and equal verdicts.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

from drawn.dataset import make_demo
from vtadl.calibration.calibrate import Request, calibrate
from vtadl.calibration.images import gather
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import PRESETS, preset_config
from vtadl.data.images import read_image
from vtadl.data.layouts import read_category
from vtadl.export.export import TOLERANCE, export_run
from vtadl.inference.predict import predict_image
from vtadl.runs.run import Run, load_run
from vtadl.runtime import load
from vtadl.runtime.manifest import MODEL_FILES
from vtadl.training.train import train_to

CPU = torch.device("cpu")
FEW_STEPS = ["training.steps=3", "training.batch_size=2"]


def calibrated(run: Run, images: list[np.ndarray]) -> Run:
    scores = [predict_image(run, image, CPU).score for image in images]
    request = Request(threshold=float(np.median(scores)))
    return dataclasses.replace(run, card=calibrate(run, gather(run, CPU), request))


def row(run: Run, to: str, images: list[np.ndarray], folder: Path) -> str:
    made = export_run(run, folder, to=to, images=images[:1])
    detector = load(folder)
    maps, scores, verdicts = [], [], 0
    for image in images:
        ours, theirs = predict_image(run, image, CPU), detector.predict(image)
        scale = float(np.abs(ours.anomaly_map).max())
        maps.append(float(np.abs(ours.anomaly_map - theirs.anomaly_map).max()) / scale)
        scores.append(abs(ours.score - theirs.score) / scale)
        verdicts += ours.verdict == theirs.verdict
    passed = "yes" if max(*maps, *scores) <= TOLERANCE and verdicts == len(images) else "NO"
    return (
        f"{run.config.preset:<16}{to:<10}{len(images):>7}{max(maps):>10.1e}{max(scores):>10.1e}"
        f"{verdicts:>6}/{len(images):<5}{made.megabytes:>7.1f}  {passed}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", type=Path)
    parser.add_argument("--preset", action="append", choices=PRESETS)
    parser.add_argument("--to", action="append", choices=MODEL_FILES)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--images", type=int, default=40, help="test images, at most, spread evenly")
    options = parser.parse_args()
    print(f"{'preset':<16}{'to':<10}{'images':>7}{'map':>10}{'score':>10}{'verdicts':>12}{'MB':>7}  within", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.category or make_demo(Path(scratch) / "demo", train=20, test_good=8, test_per_defect=4)[-1]
        category = read_category(root)
        step = max(len(category.test) / options.images, 1)
        chosen = [category.test[int(i * step)] for i in range(min(len(category.test), options.images))]
        images = [read_image(sample.path) for sample in chosen]
        # Without anomalydino, whose weights the user brings.
        for preset in options.preset or [name for name in PRESETS if name != "anomalydino"]:
            config = preset_config(preset)
            config = apply_settings(config, [*(FEW_STEPS if config.objective else []), *options.set])
            run_folder = Path(scratch) / preset
            train_to(run_folder, config, category, CPU)
            run = calibrated(load_run(run_folder), images)
            for to in options.to or MODEL_FILES:
                print(row(run, to, images, run_folder / to), flush=True)


if __name__ == "__main__":
    main()
