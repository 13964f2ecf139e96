"""How accurate are the presets, one setting for all categories? Prints the README's results table.

python benchmarks/accuracy.py [--data ../shared/data] [--preset gaussian --preset memory] [--seeds 0,1,2] [--json FILE]
    [--category mvtec/transistor]... [--set KEY=VALUE]...
"""

import argparse
import json
import statistics
from datetime import UTC, datetime
from pathlib import Path

import torch

import vtadl

CATEGORIES = ("mvtec/transistor", "mvtec/bottle", "magnetic_tile")
COLUMNS = ("image_AUROC", "image_AP", "pixel_AUROC", "pixel_AUPRO@0.3", "pixel_AUPRO@0.05")


def measure(folder: Path, preset: str, settings: list[str], seed: int) -> dict[str, float | None]:
    """The metrics of one preset on one category."""
    detector = vtadl.train(folder, preset=preset, settings=settings, seed=seed)
    report = vtadl.evaluate(detector, folder)
    return report.metrics


def cell(values: list[float | None]) -> str:
    """Mean, and spread where there is one."""
    if any(value is None for value in values):
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 and len(set(values)) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--preset", action="append", help="default: gaussian and memory")
    parser.add_argument("--category", action="append", help=f"default: {', '.join(CATEGORIES)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as of vtadl train")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows = []
    print(f"| category | preset | {' | '.join(COLUMNS)} |")
    print("|---|---|" + "---|" * len(COLUMNS))
    for category in options.category or CATEGORIES:
        for preset in options.preset or ["gaussian", "memory"]:
            # Nothing in `gaussian` is random: one seed says it all.
            measured = [
                measure(options.data / category, preset, options.set, s)
                for s in (seeds[:1] if preset == "gaussian" else seeds)
            ]
            rows.append({"category": category, "preset": preset, "seeds": seeds, "measured": measured})
            metrics = " | ".join(cell([m[column] for m in measured]) for column in COLUMNS)
            print(f"| {category} | {preset} | {metrics} |", flush=True)
    today = datetime.now(UTC).date()
    print(f"\n{today}, {torch.get_num_threads()} threads, torch {torch.__version__}, seeds {options.seeds}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
