"""Were VT-ADL's published numbers real, and what would repair it? Many trainings side by side on one GPU.

python benchmarks/gpu_study.py published --out runs/gpu --data ../shared/data --demo runs/demo --device cuda --workers 6
python benchmarks/gpu_study.py repair --out runs/gpu --data ../shared/data --demo runs/demo --device cuda --workers 9

Each training writes one file of JSON: its metrics at some steps on the way and at the end, by this project's protocol
and by that of the published code, with every anomaly map that its network can give. Killed, the same command resumes
with the trainings that are not done. ``docs/study.md`` is written from these files.
"""

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from queue import Empty
from typing import Any, Literal

import torch
from torch import Tensor

from study import MeanImage, mean_image
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.config.schema import Config, PaperConfig
from vtadl.data.images import image_size, read_mask, resize_map
from vtadl.data.layouts import Category, read_category
from vtadl.data.loading import load_images
from vtadl.data.training_images import TrainingImages, good_images
from vtadl.errors import TrainingError
from vtadl.losses.objective import Objective
from vtadl.metrics import ScoredImage, evaluate
from vtadl.metrics.published import METRIC, published_pro
from vtadl.models.build import build_model
from vtadl.models.paper_detector import PaperDetector
from vtadl.runs.files import write_text
from vtadl.training.schedule import plan
from vtadl.training.session import TrainingSession

ORIGINAL, PROPOSED = "5*mse + 0.5*ssim + nll", "mse + vae"
REFERENCE = "5*mse + 0.5*ssim + nll_reference"
"""The original loss with the formula that the published code has for its likelihood."""
TRACED = (1, 10, 100, 1000, 9600)
SHOWN = ("image_AUROC", "pixel_AUROC", "pixel_AP", "pixel_AUPRO@0.3")
Part = Literal["published", "repair"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training."""

    part: Part
    arm: str
    category: str
    objective: str
    seed: int = 0
    settings: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    """Steps after which it is measured, beside the last."""

    @property
    def config(self) -> Config:
        never = ("training.compile=never", "training.checkpoint_every=1000000000")
        return apply_settings(
            preset_config("paper", seed=self.seed, objective=self.objective), (*never, *self.settings)
        )

    @property
    def file(self) -> str:
        words = "-".join([self.part, self.category, self.arm, self.objective, f"seed{self.seed}"])
        return "".join(c if c.isalnum() else "_" for c in words) + ".json"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A change of what is trained, beside the two losses."""

    name: str
    settings: tuple[str, ...] = ()
    terms: str = ""
    """Added to each objective."""


NEIGHBOURS, PRETRAINED, DETACHED = "model.mask_radius=0", "model.pretrained_patches=true", "model.detached_density=true"
FINE, MIDDLE = "model.patch_size=16", "model.patch_size=32"
ARMS = (
    Arm(name="corrected"),
    Arm(name="detached", settings=(DETACHED,)),
    Arm(name="neighbours", settings=(NEIGHBOURS,)),
    Arm(name="neighbours, patch 16, pretrained", settings=(NEIGHBOURS, FINE, PRETRAINED)),
    Arm(name="neighbours, patch 16", settings=(NEIGHBOURS, FINE)),
    Arm(name="patch 16", settings=(FINE,)),
    Arm(name="var and cov", terms=" + var + 0.04*cov"),
    Arm(name="pretrained", settings=(PRETRAINED,)),
    Arm(name="patch 32", settings=(MIDDLE,)),
    Arm(name="neighbours, patch 16, pretrained, detached", settings=(NEIGHBOURS, FINE, PRETRAINED, DETACHED)),
    Arm(name="neighbours, detached", settings=(NEIGHBOURS, DETACHED)),
    Arm(name="neighbours, patch 16, detached", settings=(NEIGHBOURS, FINE, DETACHED)),
    Arm(name="neighbours, patch 32, pretrained", settings=(NEIGHBOURS, MIDDLE, PRETRAINED)),
)
"""In the order of their worth: each change alone, and sets of those that belong together."""
AGAIN = ("neighbours, patch 16, pretrained", "neighbours, patch 16", "corrected")
"""Of these arms, seeds 1 and 2 as well."""


def published_jobs(short: bool) -> Iterator[Job]:
    """`faithful` and `corrected` at 512 x 512 for 400 epochs (9,600 steps), then more seeds for 100."""
    faithful = "model.variant=faithful"
    looks = (600, 2400, 4800)
    if short:  # to try the script
        small = ("training.steps=4", "model.image_size=64", "model.patch_size=16", "model.width=64", "model.mixtures=2")
        for category in ("transistor", "bottle"):
            yield Job(part="published", arm="faithful", category=category, objective=REFERENCE, looks=(2,),
                      settings=(faithful, *small))  # fmt: skip
            yield Job(part="published", arm="corrected", category=category, objective=ORIGINAL, settings=small)
        return
    both, hundred = ("transistor", "bottle"), ("training.steps=2400",)
    long: list[tuple[str, str, tuple[str, ...]]] = [
        ("faithful", REFERENCE, (faithful,)),
        ("corrected", ORIGINAL, ()),
        ("corrected", PROPOSED, ()),
    ]
    for arm, objective, settings in long:
        for category in both:
            yield Job(part="published", arm=arm, category=category, objective=objective, settings=settings, looks=looks)
    more: list[tuple[str, str, tuple[str, ...], int]] = [
        ("faithful, 100 epochs", REFERENCE, (faithful,), 1),
        ("faithful, 100 epochs", REFERENCE, (faithful,), 2),
        ("faithful, 100 epochs", PROPOSED, (faithful,), 0),
        ("faithful, 100 epochs", ORIGINAL, (faithful,), 0),
        ("corrected, 100 epochs", ORIGINAL, (), 1),
        ("corrected, 100 epochs", ORIGINAL, (), 2),
        ("corrected, 100 epochs", PROPOSED, (), 1),
        ("corrected, 100 epochs", PROPOSED, (), 2),
    ]
    for arm, objective, settings, seed in more:
        for category in both:
            yield Job(part="published", arm=arm, category=category, objective=objective, seed=seed,
                      settings=(*settings, *hundred), looks=(600,))  # fmt: skip


def repair_jobs(short: bool) -> Iterator[Job]:
    """Every arm at 256 x 256 for 1,000 steps, both losses, three categories."""
    schedule: tuple[str, ...] = ("model.image_size=256", "training.steps=1000")
    if short:
        schedule = ("model.image_size=64", "model.width=32", "model.mlp_width=32", "model.depth=1", "model.heads=4",
                    "training.steps=2", "model.mixtures=2", "model.patch_size=16")  # fmt: skip
    categories = ("transistor", "bottle", "fabric")
    for arms, seeds in ((ARMS, (0,)), ([arm for arm in ARMS if arm.name in AGAIN], (1, 2))):
        for arm in arms[:3] if short else arms:
            for seed in seeds:
                for category in categories:
                    for objective in (PROPOSED, ORIGINAL):
                        yield Job(part="repair", arm=arm.name, category=category, objective=objective + arm.terms,
                                  seed=seed, settings=(*schedule, *arm.settings))  # fmt: skip


class TimeIsUpError(Exception):
    """The time is up."""


class TestSet:
    """The test images of a category at the size of a network, and their masks at their own."""

    def __init__(self, category: Category, size: tuple[int, int]) -> None:
        self.samples = category.test
        paths = [sample.path for sample in self.samples]
        batches = list(load_images(paths, size, batch_size=16))
        self.images = torch.cat([batch.images for batch in batches])
        self.masks = [
            None if sample.mask is None else read_mask(sample.mask, image_size(sample.path)) for sample in self.samples
        ]
        self.sizes = [image_size(path) for path in paths]

    def measure(self, maps_BHW: Tensor, *, published: bool = True) -> dict[str, float | None]:
        """Metrics, if asked by both protocols, of maps at the network's size."""
        maps = [resize_map(one, size) for one, size in zip(maps_BHW.float().cpu().numpy(), self.sizes, strict=True)]
        scored = [
            ScoredImage(name=str(sample.path), defect=sample.label, score=float(one.max()), anomaly_map=one, mask=mask)
            for sample, one, mask in zip(self.samples, maps, self.masks, strict=True)
        ]
        found = evaluate(scored, bootstrap=0).metrics
        metrics = {name: found[name] for name in SHOWN}
        return metrics | {METRIC: published_pro(maps, self.masks)} if published else metrics


@dataclass(frozen=True, kw_only=True)
class Score:
    """A way to score with a trained network: what it was trained by stays the same."""

    of: Literal["objective", "residual"]
    residual: Literal["squared", "gms", "ms_ssim"]
    anomaly_map: Literal["objective", "standardised", "sum"]

    @property
    def name(self) -> str:
        what = {"objective": "as trained", "standardised": "standardised", "sum": "sum"}[self.anomaly_map]
        return f"{what}, {self.of}, {self.residual}"


TRAINED = Score(of="objective", residual="squared", anomaly_map="objective")
RESIDUAL = Score(of="residual", residual="squared", anomaly_map="objective")
SCORES = (
    TRAINED,
    Score(of="objective", residual="squared", anomaly_map="standardised"),
    *(Score(of="objective", residual=kind, anomaly_map="sum") for kind in ("squared", "gms", "ms_ssim")),
    RESIDUAL,
    *(Score(of="residual", residual=kind, anomaly_map="objective") for kind in ("gms", "ms_ssim")),
    *(Score(of="residual", residual=kind, anomaly_map="standardised") for kind in ("squared", "gms", "ms_ssim")),
)


def measure(
    trained: PaperDetector, score: Score, kept: TrainingImages, tests: TestSet, session: TrainingSession
) -> dict[str, float | None]:
    """The metrics of a network by one way to score; the network is left as it was."""
    network = trained.network
    config, objective = network.config, network.objective
    try:
        network.config = replace(config, residual=score.residual, anomaly_map=score.anomaly_map)
        if score.of == "residual":
            network.objective = Objective(terms=(("mse", 1.0),))
        detector = PaperDetector(network).to(session.device)
        if score.anomaly_map != "objective":
            detector.fit_maps(kept, session)
        maps = [detector.anomaly_map(part.to(session.device)).cpu() for part in torch.split(tests.images, 16)]
    finally:
        network.config, network.objective = config, objective
    return tests.measure(torch.cat(maps), published=score in (TRAINED, RESIDUAL))


def train(job: Job, root: Path, out: Path, device: torch.device, deadline: float) -> None:
    """Train and measure one job, and write what is known so far after each look."""
    started = time.monotonic()
    config = job.config
    category = read_category(root)
    kept = good_images(category).kept
    steps = plan(config.training, len(kept)).steps
    assert isinstance(config.model, PaperConfig)
    tests = TestSet(category, (config.model.image_size,) * 2)
    result: dict[str, Any] = {**asdict(job), "steps": steps, "looks": {}, "variance": {}, "scores": {}, "done": False}
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        model = build_model(config).to(device)
    assert isinstance(model, PaperDetector)

    def save(**more: Any) -> None:
        result.update(more, seconds=round(time.monotonic() - started, 1))
        write_text(out / job.file, json.dumps(result, indent=1))

    def observe(line: Mapping[str, Any], _: object) -> None:
        step = line["step"]
        if step in TRACED:
            result["variance"][step] = line["embedding_variance"]
        if step in job.looks and step < steps:
            result["looks"][step] = {one.name: measure(model, one, kept, tests, session) for one in (TRAINED, RESIDUAL)}
            save(step=step)
        if step % 50 == 0 and time.monotonic() > deadline:
            result["looks"][step] = {TRAINED.name: measure(model, TRAINED, kept, tests, session)}
            save(step=step)
            raise TimeIsUpError

    session = TrainingSession(config=config, device=device, observe=observe)
    try:
        model.fit(kept, session)
    except TrainingError as error:  # not finite, or collapsed: what is left of it is measured all the same
        save(error=str(error))
    trained_seconds = round(time.monotonic() - started, 1)
    model.eval()
    for score in SCORES:
        if job.part == "published" and score not in (TRAINED, RESIDUAL):
            continue
        result["scores"][score.name] = measure(model, score, kept, tests, session)
        save(trained_seconds=trained_seconds)
    save(done=True)


def baseline(category: Category, size: int) -> dict[str, float | None]:
    """The distance from the mean good image, by both protocols."""
    paths = good_images(category).kept.paths
    model, tests = MeanImage(mean_image(paths, size), 4.0), TestSet(category, (size, size))
    return tests.measure(torch.cat([model.anomaly_map(part) for part in torch.split(tests.images, 16)]))


AGAIN_ELSEWHERE = 3
"""Exit code of a process whose GPU may be in a bad state: another one takes its place."""


def work(
    number: int,
    queues: tuple[Any, Any],
    folders: Mapping[str, Path],
    out: Path,
    device: str,
    deadline: float,
    threads: int,
    fastest: bool,
) -> None:
    """A process that takes one job after the other; what fails is tried once more, by a fresh process."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = fastest
    while (job := _next(*queues)) is not None and time.monotonic() < deadline:
        at = time.monotonic()
        trace = out / job.file.replace(".json", ".traceback.txt")
        try:
            train(job, folders[job.category], out, torch.device(device), deadline)
            note = "done"
        except TimeIsUpError:
            note = "stopped"
        except Exception as error:  # one training that fails leaves the others alone
            note, traceback_of = f"failed: {error}", traceback.format_exc()
        print(f"{number:>2} {time.monotonic() - at:6.1f} s {note}: {job.file}", flush=True)
        if note.startswith("failed"):
            first = not trace.exists()
            write_text(trace, traceback_of)
            if first:
                queues[1].put(job)
            sys.exit(AGAIN_ELSEWHERE)


def _next(todo: Any, again: Any) -> Job | None:
    try:
        job: Job | None = again.get(timeout=0.2)
    except Empty:
        job = todo.get()
    return job


def is_done(path: Path) -> bool:
    """Whether a training was measured to its end."""
    return path.exists() and bool(json.loads(path.read_text())["done"])


def main() -> None:
    """Start the processes and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["published", "repair", "baselines"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="holds mvtec/transistor and mvtec/bottle")
    parser.add_argument("--demo", type=Path, required=True, help="what benchmarks/drawn made")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which trainings stop")
    parser.add_argument("--short", action="store_true", help="a few steps of small networks, to try it")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = {name: options.data / "mvtec" / name for name in ("transistor", "bottle")}
    folders["fabric"] = options.demo / "fabric"
    if options.part == "baselines":
        for name, folder in folders.items():
            for size in (64,) if options.short else (256, 512):
                found = baseline(read_category(folder), size)
                write_text(options.out / f"baseline-{name}-{size}.json", json.dumps(found, indent=1))
        return
    jobs = {"published": published_jobs, "repair": repair_jobs}[options.part](options.short)
    run(list(jobs), folders, options)


def run(jobs: Sequence[Job], folders: Mapping[str, Path], options: argparse.Namespace) -> None:
    """All jobs that are not done yet, in their order, by so many processes."""
    context = multiprocessing.get_context("spawn")
    todo, again = context.Queue(), context.Queue()
    for job in jobs:
        if not is_done(options.out / job.file):
            todo.put(job)
    for _ in range(3 * options.workers):  # for those that take another one's place, too
        todo.put(None)
    deadline = time.monotonic() + options.seconds

    def start(number: int, fastest: bool) -> Any:
        arguments = (number, (todo, again), folders, options.out, options.device, deadline, options.threads, fastest)
        process = context.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process

    # Trying out every algorithm of a convolution pays off in long trainings.
    running = {number: start(number, options.part == "published") for number in range(options.workers)}
    while running:
        wait([process.sentinel for process in running.values()])
        for number, process in list(running.items()):
            if not process.is_alive():
                del running[number]
                if process.exitcode not in (0, None) and time.monotonic() < deadline:
                    running[number] = start(number, fastest=False)


if __name__ == "__main__":
    main()
