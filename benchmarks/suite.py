"""How accurate is each preset on every category at hand, and what is each component worth? Prints docs' tables.

python benchmarks/suite.py [--data ../shared/data] [--preset fusion]... [--category mvtec/bottle]... [--seeds 0]
    [--without] [--cache DIR] [--write]

Trains each preset on each category with its own settings, and evaluates it with maps and masks at 256 pixels on the
shorter side. --without scores each fused detector also with one component left out, and says what choosing that
component on all categories but one does to the one that was left out. --cache keeps what was measured, so that a row
that was measured on this code is not measured again. --write puts the tables between their markers in README.md and
docs/: of one seed the table of accuracy, of several the mean of each. Every evaluation on a test set appends a line to
benchmarks/looks.jsonl: that file counts how often the test sets were looked at.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import vtadl
from drawn.dataset import make_demo
from moved import move_category
from vtadl.models.fusion import FusionDetector

ROOT = Path(__file__).resolve().parents[1]
LOOKS = ROOT / "benchmarks/looks.jsonl"
CATEGORIES = ("mvtec/transistor", "mvtec/bottle", "magnetic_tile", "visa/macaroni1", "glass_fibre")
MADE = ("posed/transistor", "demo/fabric", "demo/flange")
"""Made from others or drawn: transistors turned by any angle, and the demo set's products."""
PRESETS = ("gaussian", "memory", "fusion", "accurate")
NAMES = ("gaussian", "memory", "block 6", "block 8")
"""Of a fused detector's components, in their order."""
METRICS = ("image_AUROC", "pixel_AUPRO@0.3", "pixel_AUPRO@0.05")
RESOLUTION = 256
LEAST_GAIN, MOST_LOSS = 0.003, 0.002
"""The rule of decision (docs/accuracy.md)."""

DOCUMENTS = {
    "accuracy": ("README.md", "docs/accuracy.md"),
    "components": ("docs/ablations.md",),
    "seeds": ("docs/accuracy.md",),
}
"""Where each table stands."""

Row = dict[str, Any]


def look(category: str, what: str, seed: int) -> None:
    """Count one evaluation on a test set."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with LOOKS.open("a") as log:
        log.write(json.dumps({"when": now, "category": category, "what": what, "seed": seed, "evaluations": 1}) + "\n")


def measured(folder: Path, category: str, preset: str, seed: int, *, without: bool) -> list[Row]:
    """Metrics and times of one training, and of its components with one left out."""
    started = time.perf_counter()
    detector = vtadl.train(folder, preset=preset, seed=seed)
    fitting = time.perf_counter() - started
    model = detector.run.model
    if not (without and isinstance(model, FusionDetector)):
        return [_evaluated(detector, folder, category, preset, seed) | {"fit_seconds": round(fitting, 1)}]
    rows, kept = [], []
    for left_out in (None, *range(len(model.components))):
        what = preset if left_out is None else f"{preset} without {NAMES[left_out]}"
        with mock.patch.object(model, "anomaly_map", _mean_without(model, left_out, kept)):
            rows.append(_evaluated(detector, folder, category, what, seed))
    return [rows[0] | {"fit_seconds": round(fitting, 1)}, *rows[1:]]


def _mean_without(
    model: FusionDetector, left_out: int | None, kept: list[torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The mean map of all components but one; what the first evaluation computes, later ones take from ``kept``."""
    taken = iter(list(kept))

    def mean(images_B3HW: torch.Tensor) -> torch.Tensor:
        if left_out is None:
            kept.append(model.component_maps(images_B3HW).half())
        maps_BKHW = (kept[-1] if left_out is None else next(taken)).float()
        return maps_BKHW[:, [k for k in range(maps_BKHW.shape[1]) if k != left_out]].mean(1)

    return mean


def _evaluated(detector: vtadl.Detector, folder: Path, category: str, label: str, seed: int) -> Row:
    look(category, label, seed)
    report = vtadl.evaluate(detector, folder, resolution=RESOLUTION)
    metrics = {name: report.metrics[name] for name in METRICS}
    return {
        "category": category,
        "what": label,
        "seed": seed,
        **metrics,
        "milliseconds": report.timing["milliseconds_per_image"],
    }


def both(row: Row) -> float:
    """What the presets are compared by: the mean of image AUROC and AUPRO@0.3."""
    return float((row["image_AUROC"] + row["pixel_AUPRO@0.3"]) / 2)


def table(rows: list[Row]) -> Iterator[str]:
    """A line for each detector: every category's metrics, their mean and the worst."""
    categories = list(dict.fromkeys(row["category"] for row in rows))
    names = [category.replace("posed/", "turned ").split("/")[-1] for category in categories]
    yield f"| detector | {' | '.join(names)} | mean | worst |"
    yield "|---|" + "---|" * (len(categories) + 2)
    for what in dict.fromkeys(row["what"] for row in rows):
        cells, means = [], []
        for category in categories:
            found = [row for row in rows if row["what"] == what and row["category"] == category]
            if not found:
                cells.append("–")
                continue
            auroc, aupro = (statistics.mean(row[name] for row in found) for name in METRICS[:2])
            cells.append(f"{auroc:.3f} / {aupro:.3f}")
            means.append((auroc + aupro) / 2)
        yield f"| {what} | {' | '.join(cells)} | {statistics.mean(means):.4f} | {min(means):.3f} |"


def spread(rows: list[Row]) -> Iterator[str]:
    """A line for each detector and seed: the mean over the categories."""
    seeds = sorted({row["seed"] for row in rows})
    yield f"| detector | {' | '.join(f'seed {seed}' for seed in seeds)} |\n|---|{'---|' * len(seeds)}"
    for what in dict.fromkeys(row["what"] for row in rows):
        means = [statistics.mean(both(r) for r in rows if r["what"] == what and r["seed"] == seed) for seed in seeds]
        yield f"| {what} | {' | '.join(f'{mean:.4f}' for mean in means)} |"


def worth(rows: list[Row]) -> Iterator[str]:
    """What leaving out each component costs, and what choosing it on all categories but one does to that one."""
    yield "| component | mean with | mean without | gain | on the category left out |\n|---|---|---|---|---|"
    for what in dict.fromkeys(row["what"] for row in rows if " without " in row["what"]):
        whole = what.partition(" without ")[0]
        per = {
            name: {c: statistics.mean(both(r) for r in rows if r["what"] == name and r["category"] == c) for c in found}
            for name in (whole, what)
            for found in [dict.fromkeys(row["category"] for row in rows if row["what"] == what)]
        }
        gains = [per[whole][category] - per[what][category] for category in per[what]]
        held = [
            gain if statistics.mean((gains[:number] + gains[number + 1 :]) or gains) >= LEAST_GAIN else 0.0
            for number, gain in enumerate(gains)
        ]
        stays = statistics.mean(gains) >= LEAST_GAIN and statistics.mean(held) >= -MOST_LOSS
        means = " | ".join(f"{statistics.mean(per[name].values()):.4f}" for name in (whole, what))
        yield (
            f"| {what.replace(' without ', ': ')} | {means} | {statistics.mean(gains):+.4f} | "
            f"{statistics.mean(held):+.4f}, {'stays' if stays else 'goes'} |"
        )


@contextmanager
def folders(data: Path, chosen: list[str]) -> Iterator[dict[str, Path]]:
    """Where each category is; those that are made are made for as long as they are needed."""
    with tempfile.TemporaryDirectory(prefix="vtadl-suite-") as made:
        found = {}
        for category in chosen:
            found[category] = data / category
            if category.startswith("posed/"):
                found[category] = Path(made) / category
                move_category(data / "mvtec" / category.partition("/")[2], found[category], 180.0, 0.02)
            elif category.startswith("demo/"):
                found[category] = Path(made) / category
                if not found[category].exists():
                    make_demo(Path(made) / "demo")
        yield found


def write(path: Path, marker: str, lines: list[str]) -> None:
    """Put lines between a document's markers."""
    begin, end = f"<!-- {marker}: written by benchmarks/suite.py -->\n", f"<!-- end of {marker} -->"
    before, _, rest = path.read_text().partition(begin)
    path.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.partition(end)[2])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--preset", action="append", help=f"default: {', '.join(PRESETS)}")
    parser.add_argument("--category", action="append", help="default: all at hand, and those that are made")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--without", action="store_true", help="also with each component left out")
    parser.add_argument("--cache", type=Path, help="folder to keep rows in")
    parser.add_argument("--write", action="store_true", help="put the tables into the documents")
    return parser.parse_args()


def cached(folder: Path | None, key: str, measure: Callable[[], list[Row]]) -> list[Row]:
    """What a file of the folder holds, else measured and kept there."""
    if folder is None:
        return measure()
    sources = sorted((ROOT / "src/vtadl").rglob("*.py"))
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources if path.parent.name in CODE)).hexdigest()
    file = folder / f"{hashlib.sha256(f'{key} {code}'.encode()).hexdigest()[:20]}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure()))
    rows: list[Row] = json.loads(file.read_text())
    return rows


CODE = ("backbones", "config", "density", "models", "nn", "training")
"""Folders whose code decides what a detector scores."""


def main() -> None:
    options = parsed()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows: list[Row] = []
    with folders(options.data, options.category or [*CATEGORIES, *MADE]) as found:
        for category, folder in found.items():
            for preset in options.preset or PRESETS:
                for seed in seeds:
                    measure = partial(measured, folder, category, preset, seed, without=options.without)
                    rows += cached(options.cache, f"{category} {preset} {seed} {options.without}", measure)
                    print(json.dumps(next(row for row in rows[::-1] if row["what"] == preset)), flush=True)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True, cwd=ROOT).strip()
    footer = (
        f"\nImage AUROC / AUPRO@0.3 at {RESOLUTION} pixels, seeds {options.seeds}, {datetime.now(UTC).date()}, "
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"commit {commit}."
    )
    presets = [row for row in rows if row["what"] in PRESETS]
    tables = {
        "accuracy": [*table(presets), footer] if len(seeds) == 1 else [],
        "seeds": [*spread(presets), footer] if len(seeds) > 1 else [],
        "components": [*worth(rows), footer] if options.without and len(seeds) == 1 else [],
    }
    print("\n".join(line for lines in tables.values() for line in ["", *lines]))
    for marker, lines in tables.items():
        for document in DOCUMENTS[marker] if options.write and lines else ():
            write(ROOT / document, marker, lines)


if __name__ == "__main__":
    main()
