"""One training of the loss study, measured by every anomaly map that its network can give."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from loss_study.jobs import SHOWN, TRACED, Job
from vtadl.config.schema import PaperConfig
from vtadl.data.images import image_size
from vtadl.data.layouts import Category, read_category
from vtadl.data.loading import load_images
from vtadl.data.mask_files import read_mask
from vtadl.data.resizing import resize_map
from vtadl.data.training_images import TrainingImages, good_images
from vtadl.errors import TrainingError
from vtadl.losses.objective import Objective
from vtadl.metrics import ScoredImage, evaluate
from vtadl.metrics.published import METRIC, published_pro
from vtadl.models.build import build_model
from vtadl.models.paper import PaperDetector
from vtadl.nn.smoothing import gaussian_smooth
from vtadl.runs.files import write_text
from vtadl.training.schedule import plan
from vtadl.training.session import TrainingSession


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


class MeanImage(nn.Module):
    """Squared distance of each pixel from the mean good image, smoothed like every other map."""

    def __init__(self, mean_3HW: Tensor, smoothing: float) -> None:
        super().__init__()
        self.mean_3HW, self.smoothing = mean_3HW, smoothing
        self.input_size = tuple(mean_3HW.shape[1:])

    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        return gaussian_smooth((images_B3HW - self.mean_3HW).square().mean(1), self.smoothing)


def mean_image(paths: Sequence[Path], size: int) -> Tensor:
    """The mean of the good images, ``(3, S, S)``."""
    total = torch.zeros(3, size, size)
    for batch in load_images(paths, (size, size), batch_size=16):
        total += batch.images.sum(0)
    return total / len(paths)


def baseline(category: Category, size: int) -> dict[str, float | None]:
    """The distance from the mean good image, by both protocols."""
    paths = good_images(category).kept.paths
    model, tests = MeanImage(mean_image(paths, size), 4.0), TestSet(category, (size, size))
    return tests.measure(torch.cat([model.anomaly_map(part) for part in torch.split(tests.images, 16)]))
