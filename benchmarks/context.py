"""What each component of the preset `context`, and each loss of its transformer, is worth. Prints docs/context.md's
tables.

python benchmarks/context.py [--data ../shared/data] [--category mvtec/transistor]... [--objective nll]...
    [--seeds 0,1,2] [--against gaussian --against memory] [--set KEY=VALUE]... [--remember] [--whole] [--json FILE]

One setting for all categories. `together` is the preset; its components are alone, by the same trainings (all but
`context` of the first seed). With --against, presets are measured too, and the paired difference to the better of them
is shown, with its 95 % interval over images (first seed). --remember keeps the frozen features of every image in memory
(0.5 to 1 MB each): the metrics are the same, and the times are not what a training takes. --whole leaves the components
out.
"""

import argparse
import hashlib
import json
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vtadl
from vtadl.backbones.build import EfficientNetBackbone
from vtadl.metrics.comparison import compare_resampled
from vtadl.models.context import COMPONENTS, ContextDetector

CATEGORIES = ("mvtec/transistor", "mvtec/bottle", "magnetic_tile")
COLUMNS = ("image_AUROC", "pixel_AUPRO@0.3", "pixel_AUPRO@0.05")


def measure(
    folder: Path, objective: str, settings: list[str], seed: int, components: tuple[int, ...]
) -> tuple[dict[str, Any], vtadl.Report]:
    """Metrics of the whole and of some components alone, and the whole's report."""
    detector = vtadl.train(folder, preset="context", objective=objective, settings=settings, seed=seed)
    model = detector.run.model
    assert isinstance(model, ContextDetector)
    whole = vtadl.evaluate(detector, folder)
    metrics = {"together": whole.metrics}
    for component, name in enumerate(COMPONENTS):
        if component in components and (name != "discriminant" or model.discriminant.fitted):
            alone = torch.eye(len(COMPONENTS)).to(model.combination.where)[component]
            model.combination.whether, model.combination.where = alone, alone
            metrics[name] = vtadl.evaluate(detector, folder).metrics
    return {"metrics": metrics, "times": detector.run.times, "training": detector.run.training}, whole


def remember_features() -> None:
    """Let the backbone see each image once."""
    known: dict[bytes, torch.Tensor] = {}
    look = EfficientNetBackbone.forward

    def remembered(backbone: EfficientNetBackbone, images_B3HW: torch.Tensor, pooling: int = 1) -> torch.Tensor:
        keys = [hashlib.sha256(image.cpu().numpy().tobytes()).digest() for image in images_B3HW]
        if not all(key in known for key in keys):
            known.update(zip(keys, look(backbone, images_B3HW, pooling), strict=True))
        return torch.stack([known[key] for key in keys])

    EfficientNetBackbone.forward = remembered  # type: ignore[method-assign]


def cell(values: list[float | None]) -> str:
    """Mean, and spread where there is one."""
    if any(value is None for value in values):
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 and len(set(values)) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def row(category: str, what: str, objective: str, measured: list[dict[str, Any]]) -> str:
    """A line of the table."""
    metrics = " | ".join(cell([one[column] for one in measured]) for column in COLUMNS)
    return f"| {category} | {what} | {objective} | {metrics} | {len(measured)} |"


def difference(whole: vtadl.Report, others: dict[str, vtadl.Report]) -> str:
    """How far the whole is above the better of the others, metric by metric."""
    lines = []
    for column in COLUMNS:
        known = {name: report.metrics[column] for name, report in others.items()}
        if whole.metrics[column] is None or None in known.values():
            continue
        best = max(known, key=lambda name: known[name] or 0.0)
        ours, theirs = whole.evaluation, others[best].evaluation
        is_good = np.array([not sample.is_defective for sample in whole.samples])
        found = compare_resampled(
            ours.metrics[column] or 0.0,
            theirs.metrics[column] or 0.0,
            ours.resampled[column],
            theirs.resampled[column],
            is_good,
        )
        low, high = found.interval
        lines.append(f"{column} {found.difference:+.3f} ({low:+.3f} to {high:+.3f}) against {best}")
    return "; ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--category", action="append", help=f"default: {', '.join(CATEGORIES)}")
    parser.add_argument("--objective", action="append", help="default: nll")
    parser.add_argument("--against", action="append", default=[], metavar="PRESET")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as of vtadl train")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--remember", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.remember:
        remember_features()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows, differences = [], []
    print(f"| category | what | objective | {' | '.join(COLUMNS)} | seeds |\n|---|---|---|{'---|' * len(COLUMNS)}---|")
    for category in options.category or CATEGORIES:
        folder = options.data / category
        others = {
            preset: vtadl.evaluate(vtadl.train(folder, preset=preset, seed=seeds[0]), folder)
            for preset in options.against
        }
        for preset, report in others.items():
            print(row(category, f"preset {preset}", "–", [report.metrics]), flush=True)
        for objective in options.objective or ["nll"]:
            measured = []
            for seed in seeds:
                first = objective == (options.objective or ["nll"])[0] and seed == seeds[0]
                # Components without steps hardly depend on seeds, and not at all on the objective.
                every = tuple(range(len(COMPONENTS))) if first else (COMPONENTS.index("context"),)
                components = () if options.whole else every
                one, whole = measure(folder, objective, options.set, seed, components)
                measured.append(one)
                if seed == seeds[0] and others:
                    differences.append(f"{category}, {objective}: {difference(whole, others)}")
            rows.append({"category": category, "objective": objective, "seeds": seeds, "measured": measured})
            for what in measured[0]["metrics"]:
                known = [one["metrics"][what] for one in measured if what in one["metrics"]]
                print(row(category, what, objective, known), flush=True)
            seconds = [one["times"]["training_seconds"] for one in measured]
            print(f"<!-- {category} {objective}: training {min(seconds):.0f} to {max(seconds):.0f} s -->", flush=True)
    print("\n" + "\n".join(differences))
    print(f"\n{datetime.now(UTC).date()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
