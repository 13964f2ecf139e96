"""What does VT-ADL's loss change? Both objectives, corrected and faithful, against baselines; writes docs/study.md.

python benchmarks/study.py --out runs/study --full --device cuda --workers 14 [--data ../shared/data]
python benchmarks/study.py --out runs/study [--steps 100] [--workers 2]

The FULL schedule is the published one: 400 epochs at 512 x 512, for a GPU. The SHORT one on small images is for
machines without: it says what moves early in training. Each has a part of the page of its own. Killed, the same command
resumes; ``--page`` writes the page from the cells that are there.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor, nn

from drawn.dataset import make_demo
from vtadl.compare.cells import Cell, data_hash
from vtadl.compare.outcomes import Outcome, read_outcome, read_resampled
from vtadl.compare.workers import run_side_by_side
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import GOOD, Category, read_category
from vtadl.data.loading import load_images
from vtadl.data.repeated import RepeatedImages
from vtadl.data.splits import training_split
from vtadl.evaluation import evaluate_run
from vtadl.metrics.comparison import compare_resampled
from vtadl.models.build import build_model
from vtadl.models.paper_detector import PaperDetector
from vtadl.nn.smoothing import gaussian_smooth
from vtadl.runs.files import write_text
from vtadl.runs.run import HeldOut, Run, Source
from vtadl.training.loop import optimise
from vtadl.training.schedule import plan

Baselines = dict[str, dict[str, dict[str, float | None]]]
"""Metrics by category and name."""

PAGE = Path(__file__).resolve().parents[1] / "docs/study.md"
BEGIN, END = "<!-- {}: written by benchmarks/study.py -->", "<!-- {}: end of what benchmarks/study.py writes -->"
AUPRO, AUROC = "pixel_AUPRO@0.3", "image_AUROC"
ORIGINAL, PROPOSED = "5*mse + 0.5*ssim + nll", "mse + vae"
BAR = 0.10
SHOWN = ("transistor", "fabric")
"""The categories of the bar; variants run on these."""
NEVER = 1_000_000_000
"""Steps between checkpoints where none is wanted but the last."""
TRACED = (1, 10, 100, 1000)
"""Steps whose variance of the embeddings is kept, beside the last."""
TRACE_FILE = "trace.json"
TIMED_STEPS = 60
AROUND_SECONDS = 20.0
"""What a cell takes beside its steps."""
WITHOUT_SSIM = 0.6
"""Cost of a step without SSIM, against one with it, on a GPU."""


@dataclass(frozen=True)
class Arm:
    """One change against the corrected model, everything else equal."""

    name: str
    settings: tuple[str, ...] = ()
    objectives: tuple[str, ...] = (ORIGINAL, PROPOSED)
    categories: tuple[str, ...] = SHOWN
    density_weight: float = 1.0
    """Of the likelihood or the bound; 0 leaves it out, and the reconstruction's residual is the anomaly map."""
    cost: float = 1.0
    """Of a step, in steps of the corrected model."""

    def objective(self, of_study: str) -> str:
        if self.density_weight == 1:
            return of_study
        if self.density_weight == 0:
            return of_study.rpartition(" + ")[0]
        return of_study.replace("nll", f"{self.density_weight}*nll").replace("vae", f"{self.density_weight}*vae")


BASE = Arm("corrected")
VARIANTS = (
    Arm("150 Gaussians", ("model.mixtures=150",), (ORIGINAL,), cost=2.0),
    Arm("no noise", ("model.noise=0",)),
    Arm("patch 32", ("model.patch_size=32",), cost=1.4),
)
FAITHFUL = Arm("faithful", ("model.variant=faithful",), (ORIGINAL,), SHOWN[:1], cost=1.6)
"""On a CPU the published decoder makes a step ten times as long, so one objective on one category has to do."""
DETACHED = Arm("density detached", ("model.detached_density=true",))
"""The likelihood's gradient stops at the embeddings: what they are like if it cannot make them alike."""
DETACHED_FINE = Arm("density detached, patch 32", (*DETACHED.settings, "model.patch_size=32"), cost=1.4)
WITHOUT = Arm("no density", density_weight=0)
LONGER = ("training.steps=1000", "training.checkpoint_every=1000")


@dataclass(frozen=True)
class Schedule:
    """How long, on how large images, and what is tried beside the corrected model."""

    name: str
    size: int
    settings: tuple[str, ...]
    words: str
    variants: tuple[Arm, ...]
    remedies: tuple[Arm, ...]
    """What might keep the embeddings from collapsing, or do without them."""

    @property
    def changes(self) -> tuple[Arm, ...]:
        return (*self.variants, *self.remedies)


SHORT = Schedule(
    name="short schedule",
    size=256,
    settings=(),
    words="the study: 512 x 512, 400 epochs",
    variants=(*VARIANTS, FAITHFUL),
    remedies=(
        DETACHED,
        WITHOUT,
        Arm("density's weight 0.01", density_weight=0.01),
        Arm("1,000 steps", LONGER),
        Arm("no density, 1,000 steps", LONGER, density_weight=0),
    ),
)
FULL = Schedule(
    name="full schedule",
    size=512,
    # Compiling in each process takes longer than it saves, and so does writing checkpoints of half a gigabyte.
    settings=("training.compile=never", f"training.checkpoint_every={NEVER}"),
    words="the published schedule",
    variants=(replace(FAITHFUL, categories=SHOWN), *VARIANTS),
    remedies=(DETACHED, WITHOUT, DETACHED_FINE),
)


class ConstantMap(nn.Module):
    """Knows nothing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input_size = (size, size)

    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        return torch.zeros(images_B3HW.shape[0], *images_B3HW.shape[2:])


class MeanImage(nn.Module):
    """Squared distance of each pixel from the mean good image, smoothed like every other map."""

    def __init__(self, mean_3HW: Tensor, smoothing: float) -> None:
        super().__init__()
        self.mean_3HW, self.smoothing = mean_3HW, smoothing
        self.input_size = tuple(mean_3HW.shape[1:])

    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        return gaussian_smooth((images_B3HW - self.mean_3HW).square().mean(1), self.smoothing)


def main() -> None:
    options = _options()
    schedule = FULL if options.full else SHORT
    if not (options.out / "demo").exists():
        make_demo(options.out / "demo")
    folders = [options.data / "mvtec/transistor", options.out / "demo/fabric"]
    folders += [options.data / "mvtec/bottle", options.out / "demo/flange"]
    categories = {folder.name: read_category(folder) for folder in folders if folder.exists()}
    device = torch.device(options.device)
    if options.time:
        print(time_steps(schedule, categories[options.time], device))
        return
    steps = options.steps or (None if options.full else 100)
    study = Study(schedule, options.out, categories, steps, [int(seed) for seed in options.seeds.split(",")])
    baselines = read_baselines(study)
    if not options.page:
        _run(study, device, options)
    study.write_page(baselines, options.hardware)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--full", action="store_true", help="the published schedule")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, help="of each cell, instead of the schedule's")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="no cell starts that would take longer")
    parser.add_argument("--step-seconds", type=float, default=0.0, help="of the corrected model, to foresee that")
    parser.add_argument("--page", action="store_true", help="train nothing")
    parser.add_argument("--time", metavar="CATEGORY", help="only measure what a step of each kind costs")
    parser.add_argument("--hardware", default="2 cores of an AMD EPYC, 24 GB, torch 2.13.0+cpu, 2026-11-24")
    options: argparse.Namespace = parser.parse_args()
    return options


def _run(study: "Study", device: torch.device, options: argparse.Namespace) -> None:
    started = time.monotonic()

    def note(cell: Cell, outcome: Outcome) -> None:
        keep_trace(options.out / cell.place)
        seconds = time.monotonic() - started
        print(
            f"{seconds:.0f} s", outcome.status, cell.place, outcome.metrics.get(AUPRO), outcome.error or "", flush=True
        )

    def starts(cell: Cell) -> bool:
        takes: float = AROUND_SECONDS + study.cost(cell) * options.step_seconds
        fits: bool = time.monotonic() - started + takes < options.stop_after
        return fits

    todo = [cell for cell in study.cells if not study.is_done(cell)]
    run_side_by_side(todo, options.out, device, options.workers, note, starts=starts)


class Study:
    """The cells in the order in which they matter, and their part of the page."""

    def __init__(
        self, schedule: Schedule, out: Path, categories: dict[str, Category], steps: int | None, seeds: list[int]
    ) -> None:
        self.schedule, self.out, self.categories, self.steps, self.seeds = schedule, out, categories, steps, seeds
        self.hashes = {name: data_hash(category) for name, category in categories.items()}
        self.images = {name: len(training_split(category)[0]) for name, category in categories.items()}
        self.of_arm: dict[tuple[str, Arm, str, int], Cell] = {}
        for name, arm, objective, seed in self._order():
            self.of_arm[name, arm, objective, seed] = self._cell(name, arm, objective, seed)

    @property
    def cells(self) -> list[Cell]:
        return list(self.of_arm.values())

    def cost(self, cell: Cell) -> float:
        """Of a training, in steps of the corrected model with the original loss."""
        ((name, arm, objective),) = (key[:3] for key, known in self.of_arm.items() if known is cell)
        cheaper = 1.0 if "ssim" in objective else WITHOUT_SSIM
        return plan(cell.config.training, self.images[name]).steps * arm.cost * cheaper

    def is_done(self, cell: Cell) -> bool:
        outcome = self.outcome(cell)
        return outcome is not None and outcome.status == "done"

    def outcome(self, cell: Cell) -> Outcome | None:
        return read_outcome(self.out / cell.place)

    def done(self, name: str, arm: Arm, objective: str) -> dict[int, Cell]:
        """The cells of all seeds that are done."""
        found = {}
        for seed in self.seeds:
            cell = self.of_arm.get((name, arm, objective, seed))
            if cell is not None and self.is_done(cell):
                found[seed] = cell
        return found

    def values(self, name: str, arm: Arm, objective: str, metric: str) -> list[float]:
        outcomes = [self.outcome(cell) for cell in self.done(name, arm, objective).values()]
        found = [outcome.metrics[metric] for outcome in outcomes if outcome is not None]
        return [value for value in found if value is not None]

    def write_page(self, baselines: Baselines, hardware: str) -> None:
        text = PAGE.read_text(encoding="utf-8")
        begin, end = (mark.format(self.schedule.name) for mark in (BEGIN, END))
        before, after = text.split(begin)[0], text.split(end)[1]
        parts = [self._setting(hardware), *self._tables(baselines), *self._moved(baselines), *self._embeddings()]
        content = "\n\n".join(parts)
        write_text(PAGE, f"{before}{begin}\n\n{content}\n\n{end}{after}")

    def _order(self) -> Iterator[tuple[str, Arm, str, int]]:
        first, *more = self.seeds
        for name in self.categories:
            yield from ((name, BASE, objective, first) for objective in BASE.objectives)
        again = [(BASE, seed) for seed in more]
        remedies, variants = (
            [(arm, first) for arm in arms] for arms in (self.schedule.remedies, self.schedule.variants)
        )
        for arm, seed in (*again[:1], *remedies, *again[1:], *variants):
            for name in arm.categories:
                if name in self.categories:
                    yield from ((name, arm, objective, seed) for objective in arm.objectives)

    def _cell(self, name: str, arm: Arm, objective: str, seed: int) -> Cell:
        steps = (
            [] if self.steps is None else [f"training.steps={self.steps}", f"training.checkpoint_every={self.steps}"]
        )
        config = apply_settings(
            preset_config("paper", seed=seed, objective=arm.objective(objective)),
            (f"model.image_size={self.schedule.size}", *steps, *self.schedule.settings, *arm.settings),
        )
        return Cell(category=self.categories[name], name=name, config=config, data_sha256=self.hashes[name])

    def _setting(self, hardware: str) -> str:
        done = sum(map(self.is_done, self.cells))
        count = len(self.cells)
        left = "" if done == count else f" {done} of {count} cells are done; a dash is one that is not, or no metric."
        length = "400 epochs" if self.steps is None else f"{self.steps} steps"
        size = self.schedule.size
        return (
            f"**{self.schedule.name.capitalize()}**: {size} x {size} pixels, {length} of 8 images a step "
            f"({self.schedule.words}), Adam at 1e-4, weight decay 1e-4, {hardware}, seeds "
            f"{', '.join(map(str, self.seeds))} for the corrected model on {' and '.join(SHOWN)}, seed {self.seeds[0]} "
            f"elsewhere. ± is the standard deviation over seeds.{left}"
        )

    def _tables(self, baselines: Baselines) -> Iterator[str]:
        yield "### Against baselines"
        for metric in (AUPRO, AUROC):
            names = list(next(iter(baselines.values())))
            rows = [
                [
                    name,
                    *(number(baselines[name][base][metric]) for base in names),
                    *(spread(self.values(name, BASE, objective, metric)) for objective in BASE.objectives),
                ]
                for name in self.categories
            ]
            yield table([metric.replace("_", " "), *names, *(f"`{objective}`" for objective in BASE.objectives)], rows)
        yield f"The bar: {BAR:.2f} AUPRO above the best baseline."
        yield "\n".join(
            self._against_bar(name, objective, baselines) for name in SHOWN for objective in BASE.objectives
        )

    def _against_bar(self, name: str, objective: str, baselines: Baselines) -> str:
        values = self.values(name, BASE, objective, AUPRO)
        if not values:
            return f"- {name}, `{objective}`: not done."
        of = {base: value for base, metrics in baselines[name].items() if (value := metrics[AUPRO]) is not None}
        best = max(of, key=lambda base: of[base])
        above = fmean(values) - of[best]
        verdict = "reaches the bar" if above >= BAR else "**fails the bar**"
        ours = f"- {name}, `{objective}`: {fmean(values):.3f}"
        return f"{ours}, {above:+.3f} against the best baseline, {best} ({of[best]:.3f}): {verdict}."

    def _moved(self, baselines: Baselines) -> Iterator[str]:
        yield "### One change at a time"
        yield (
            "AUPRO@0.3, the change minus the corrected model of the same objective and seed; 95 % interval over test "
            "images. *Moved* says that the interval excludes 0 and the difference is more than twice the spread of "
            "the corrected model over seeds."
        )
        rows: list[list[str]] = []
        missing: list[str] = []
        for name in SHOWN:
            rows += self._change(name, "loss: proposed - original", (BASE, PROPOSED), (BASE, ORIGINAL))
            for arm in self.schedule.changes:
                of = arm.objectives if name in arm.categories else ()
                found = {o: self._change(name, f"{arm.name}, `{arm.objective(o)}`", (arm, o), (BASE, o)) for o in of}
                rows += [row for of_objective in found.values() for row in of_objective]
                lacking = [arm.objective(o) for o in of if not found[o]]
                if lacking:
                    missing.append(f"{name}, {arm.name}" + (f", `{lacking[0]}`" if len(lacking) < len(of) else ""))
        yield table(["category", "change", "before", "after", "difference", "95 % interval", "verdict"], rows)
        if missing:
            yield f"Not measured: {'; '.join(missing)}."
        yield self._changes_above_bar(baselines)

    def _changes_above_bar(self, baselines: Baselines) -> str:
        """Which changes reach the bar."""
        found = []
        for name, arm, objective, _ in self.of_arm:
            values = self.values(name, arm, objective, AUPRO)
            best = max(metrics[AUPRO] or 0.0 for metrics in baselines[name].values())
            if arm is not BASE and values and fmean(values) >= best + BAR:
                what = f"{name}, {arm.name}, `{arm.objective(objective)}`"
                found.append(f"{what} ({fmean(values):.3f}, the best baseline {best:.3f})")
        reached = f"these reach the bar: {'; '.join(found)}." if found else "**none reaches the bar.**"
        return f"Of these changes, {reached}"

    def _embeddings(self) -> Iterator[str]:
        """Their variance on the way, of the first seed."""
        rows = []
        for (name, arm, objective, seed), cell in self.of_arm.items():
            path = self.out / cell.place / TRACE_FILE
            if seed == self.seeds[0] and self.is_done(cell) and path.exists():
                lines = json.loads(path.read_text())
                at = {line["step"]: f"{line['embedding_variance']:.2g}" for line in lines}
                metric = self.values(name, arm, objective, AUPRO)
                rows.append(
                    [
                        name,
                        f"{arm.name}, `{arm.objective(objective)}`",
                        *(at.get(step, "–") for step in TRACED),
                        f"{at[lines[-1]['step']]} ({lines[-1]['step']:,})",
                        number(metric[0] if metric else None),
                    ]
                )
        if rows:
            yield "### What becomes of the embeddings"
            yield (
                "Variance of the encoded patches over images and patches, averaged over dimensions, at some steps of "
                "the training (the corrected encoder's norm bounds it by 1). Near 0 all patches look alike."
            )
            head = ["category", "model", *(f"step {step:,}" for step in TRACED), "last step", "AUPRO@0.3"]
            yield table(head, rows)

    def _change(self, name: str, what: str, after: tuple[Arm, str], before: tuple[Arm, str]) -> list[list[str]]:
        """The row of a change; none where a cell of it is missing."""
        new, old = self.done(name, *after), self.done(name, *before)
        seeds = [seed for seed in new if seed in old]
        if not seeds:
            return []
        metrics, draws = [], []
        for cells in (new, old):
            outcomes = [self.outcome(cells[seed]) for seed in seeds]
            metrics.append(fmean(o.metrics[AUPRO] or 0.0 for o in outcomes if o is not None))
            draws.append(np.mean([read_resampled(self.out / cells[seed].place)[AUPRO] for seed in seeds], axis=0))
        outcome = self.outcome(new[seeds[0]])
        assert outcome is not None
        is_good = np.array([label == GOOD for _, label, _ in outcome.images])
        found = compare_resampled(metrics[0], metrics[1], draws[0], draws[1], is_good)
        low, high = found.interval
        of_seeds = self.values(name, *before, AUPRO)
        noise = stdev(of_seeds) if len(of_seeds) > 1 else None
        verdict = "did not move"
        if not low <= 0 <= high:
            verdict = "moved" if noise is not None and abs(found.difference) > 2 * noise else "within seed noise"
            verdict = "moved (one seed)" if noise is None else verdict
        shown = [f"{found.second:.3f}", f"{found.first:.3f}", f"{found.difference:+.3f}", f"{low:+.3f} to {high:+.3f}"]
        return [[name, what, *shown, verdict]]


def keep_trace(folder: Path) -> None:
    """Copy a few lines of a cell's log to where they outlive its weights."""
    log = folder / "run/log.jsonl"
    if log.exists():
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        kept = [line for line in lines if line["step"] in TRACED or line is lines[-1]]
        write_text(folder / TRACE_FILE, json.dumps(kept, indent=1))


def time_steps(schedule: Schedule, category: Category, device: torch.device) -> str:
    """Median milliseconds of a training step of each kind, one process, the first ten left out."""
    paths = [sample.path for sample in training_split(category)[0]]
    images = RepeatedImages(paths, (schedule.size, schedule.size))
    images.move_to(device)
    rows = []
    for arm in (BASE, *schedule.changes):
        for objective in arm.objectives:
            asked = preset_config("paper", objective=arm.objective(objective))
            settings = (f"model.image_size={schedule.size}", f"training.steps={TIMED_STEPS}", "training.compile=never")
            config = apply_settings(asked, (*arm.settings, *settings))
            torch.manual_seed(0)
            model = build_model(config).to(device)
            assert isinstance(model, PaperDetector)
            # Whole batches alone: an epoch's last one is smaller.
            training = replace(config.training, batch_size=min(config.training.batch_size, len(paths)))
            stamps: list[float] = []
            optimise(
                model.network,
                images,
                training,
                0,
                device,
                observe=lambda *_, stamps=stamps: stamps.append(time.perf_counter()),
            )
            milliseconds = 1000 * float(np.median(np.diff(stamps[10:])))
            rows.append([f"{arm.name}, `{config.objective}`", f"{milliseconds:.1f}", f"{8000 / milliseconds:.0f}"])
    return table(["training step of 8 images", "ms", "images a second"], rows)


def read_baselines(study: Study) -> Baselines:
    """Metrics of detectors that learned next to nothing, by category and name; measured once, on the CPU."""
    path = study.out / f"baselines-{study.schedule.size}.json"
    if not path.exists():
        size = study.schedule.size
        found = {name: measure_baselines(category, size) for name, category in study.categories.items()}
        write_text(path, json.dumps(found, indent=1))
    content: Baselines = json.loads(path.read_text())
    return content


def measure_baselines(category: Category, size: int) -> dict[str, dict[str, float | None]]:
    """A constant map, the per-pixel mean image, and both networks before any training."""
    config = apply_settings(preset_config("paper"), [f"model.image_size={size}"])
    kept, _ = training_split(category)
    models: dict[str, nn.Module] = {
        "constant map": ConstantMap(size),
        "mean image": MeanImage(mean_image([sample.path for sample in kept], size), config.model.smoothing),
    }
    for objective in (ORIGINAL, PROPOSED):
        torch.manual_seed(0)
        untrained = apply_settings(preset_config("paper", objective=objective), [f"model.image_size={size}"])
        models[f"untrained, `{objective}`"] = build_model(untrained)
    source = Source(category=category.name, layout=category.layout, trained_on=0, held_out=0, content_sha256="")
    metrics = {}
    for name, model in models.items():
        run = Run(config=config, model=model.eval(), source=source, held_out=HeldOut())
        metrics[name] = evaluate_run(run, category, torch.device("cpu")).metrics
    return metrics


def mean_image(paths: Sequence[Path], size: int) -> Tensor:
    """The mean of the good images, ``(3, S, S)``."""
    total = torch.zeros(3, size, size)
    for batch in load_images(paths, (size, size), batch_size=16):
        total += batch.images.sum(0)
    return total / len(paths)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---", *(["--:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
