"""Train a detector on the good images of a category."""

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.config.presets import preset_config
from vtadl.config.schema import Config, ContextConfig
from vtadl.data.hashing import content_hash, in_order_of_content
from vtadl.data.layouts import Category, Sample
from vtadl.data.loading import fitting_batch, load_images
from vtadl.data.repeated import RepeatedImages
from vtadl.data.roi import blanked
from vtadl.data.splits import training_split
from vtadl.errors import ConfigError, DataError
from vtadl.inference.held_out import score_held_out
from vtadl.models.build import build_model, check_model
from vtadl.models.detector import GaussianDetector, MemoryDetector, TrainedDetector
from vtadl.models.paper import PaperModel
from vtadl.progress import Progress, silent
from vtadl.runs.checkpoint import TrainingLog, is_unfinished
from vtadl.runs.run import HeldOut, Run, Source, begin_run, check_free, finish_run, load_run, read_region, save_run
from vtadl.training.context import train_in_context
from vtadl.training.distributed import ProcessGroup, joined, launched_rank
from vtadl.training.loop import Observe, optimise
from vtadl.training.resume import check_conditions, check_data, check_region, check_same, conditions_of, resumed_config
from vtadl.training.schedule import plan
from vtadl.training.settling import settled, settled_as
from vtadl.training.tensorboard import Board, check_installed

FIT_BATCH = 16
FEW_IMAGES = 10


@dataclass(frozen=True, kw_only=True)
class Images:
    """The good images of a category, as a training uses them."""

    kept: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    source: Source
    roi_mask: NDArray[np.bool_] | None

    @property
    def paths(self) -> list[Path]:
        """Files to learn from, in no order that counts."""
        return [sample.path for sample in self.kept]


def train_run(
    config: Config,
    category: Category,
    device: torch.device,
    *,
    warn: Callable[[str], None],
    skip: frozenset[Sample] = frozenset(),
    progress: Progress = silent,
) -> Run:
    """Train on the category's good images, the held-out ones apart, and score those. Nothing is written.

    Args:
        config: what to train.
        category: whose images.
        device: where to train.
        warn: called with each line that the user should read.
        skip: samples not to use, because they cannot be read.
        progress: shows how far it is.

    Raises:
        ConfigError: settings that do not fit together.
        DataError: no usable good image.
        TrainingError: training cannot continue.
    """
    check_model(config)
    images = _images(category, skip, warn)
    config = settled(config, images.paths, images.roi_mask, device, progress)
    if config.objective is None:
        return _fitted(config, images, device, progress)
    return _trained(config, images, device, ProcessGroup(), None, progress)


def train_to(
    folder: Path,
    config: Config,
    category: Category,
    device: torch.device,
    *,
    warn: Callable[[str], None],
    force: bool = False,
    resume: bool = False,
    skip: frozenset[Sample] = frozenset(),
    tensorboard: Path | None = None,
    progress: Progress = silent,
) -> Run | None:
    """Train into a run folder, where a training that is cut off can resume later as if nothing had happened.

    Processes that torchrun started train together, and one of them writes.

    Args:
        folder: of the run.
        config: what to train.
        category: whose images.
        device: where to train.
        warn: called with each line that the user should read.
        force: replace what an earlier run wrote there.
        resume: resume what is in the folder; begin where there is nothing, and do nothing where it is finished.
        skip: samples not to use, because they cannot be read.
        tensorboard: folder to write numbers and pictures to, for presets that are trained.
        progress: shows how far it is.

    Returns:
        The run; ``None`` in a process that does not write.

    Raises:
        ConfigError: settings that do not fit together, or are not those of the training to resume.
        DataError: no usable good image, or others than the training to resume had.
        BundleError: the folder is in the way, damaged, or cannot be written.
        TrainingError: training cannot continue.
        TrainingInterrupted: Ctrl-C, after a checkpoint.
    """
    check_model(config)
    if config.objective is None and launched_rank() is not None:
        raise ConfigError(f"preset '{config.preset}' is fitted by one process; start it without torchrun")
    if tensorboard is not None:
        if config.objective is None:
            raise ConfigError(f"preset '{config.preset}' is fitted without steps, so --tensorboard has nothing to show")
        check_installed()
    with joined(device) as (group, device):
        if not group.is_main:
            warn, progress = _ignore, silent
        images = _images(category, skip, warn)
        begun = resumed_config(folder, lambda stored: settled_as(config, stored)) if resume else None
        config = begun or settled(config, images.paths, images.roi_mask, device, progress)
        if resume and (folder / "run.json").exists():
            return _finished(folder, config, images)
        if config.objective is None:
            check_free(folder, force=force)
            run = _fitted(config, images, device, progress)
            save_run(run, folder, force=force)
            return run
        conditions = conditions_of(config, images.source, device, group)
        if group.is_main and not (resume and is_unfinished(folder)):
            begin_run(folder, config, images.roi_mask, force=force)
        group.wait()
        check_region(folder, read_region(folder), images.roi_mask)
        check_conditions(folder, config, conditions, warn)
        with TrainingLog(folder, conditions, writes=group.is_main) as training_log:
            run = _trained(
                config, images, device, group, training_log, progress, tensorboard if group.is_main else None
            )
        if not group.is_main:
            return None
        finish_run(run, folder)
        return run


def adopted_run(
    network: PaperModel, category: Category | None, device: torch.device, *, progress: Progress = silent
) -> Run:
    """A run of weights that were trained elsewhere.

    Args:
        network: with its weights.
        category: its good training images set the colours of heat maps. Their scores are not kept: whether they were
            trained on is not known.
        device: where to score them.
        progress: shows how far it is.

    Raises:
        DataError: the category has no training images, or one that cannot be used.
    """
    objective = network.objective
    config = replace(preset_config("paper", objective=str(objective)), model=network.config)
    nothing = hashlib.sha256(b"").hexdigest()
    run = Run(
        config=config,
        model=TrainedDetector(network, objective, network.config.smoothing).eval(),
        source=Source(category="an import", layout="no", trained_on=0, held_out=0, content_sha256=nothing),
        held_out=HeldOut(),
        times=_times(device),
    )
    if category is not None:
        kept, _ = training_split(category)
        images = Images(kept=kept, held_out=(), source=run.source, roi_mask=category.roi_mask)
        run.roi_mask = category.roi_mask
        run.held_out = _score_held_out(run, images, device, progress)
    return run


def _fitted(config: Config, images: Images, device: torch.device, progress: Progress) -> Run:
    started = time.perf_counter()
    run = _fit(config, images, device, progress)
    if images.held_out or len(images.kept) == 1:
        run.held_out = _score_held_out(run, images, device, progress)
    else:
        # A training image scores far lower than a new one; of few images, next to nothing. So the colours come from a
        # second detector that learns from every other image and scores the rest.
        ordered = sorted(images.kept, key=lambda sample: content_hash(sample.path))
        half = _fit(config, replace(images, kept=tuple(ordered[::2])), device, progress)
        run.held_out = _score_held_out(half, replace(images, kept=tuple(ordered[1::2])), device, progress)
    run.times["training_seconds"] = round(time.perf_counter() - started, 3)
    return run


def _fit(config: Config, images: Images, device: torch.device, progress: Progress) -> Run:
    model = build_model(config).to(device)
    assert isinstance(model, GaussianDetector | MemoryDetector)
    model.fit(_fit_batches(images, model.input_size, device, progress), len(images.kept), config.seed)
    return Run(
        config=config,
        model=model.eval(),
        source=images.source,
        held_out=HeldOut(),
        times=_times(device),
        roi_mask=images.roi_mask,
    )


def _trained(
    config: Config,
    images: Images,
    device: torch.device,
    group: ProcessGroup,
    training_log: TrainingLog | None,
    progress: Progress,
    tensorboard: Path | None = None,
) -> Run:
    if isinstance(config.model, ContextConfig):
        return _trained_in_context(config, images, device, group, training_log, progress, tensorboard)
    # By content, so that names and places of the files do not decide the order in which they are seen.
    paths = sorted_by_content(images.kept)
    repeated = RepeatedImages(paths, config.model.image_size, roi_mask=images.roi_mask, progress=progress)
    planned = plan(config.training, len(paths))
    shown = sorted_by_content(images.held_out or images.kept)
    board = _board(tensorboard, shown, config.model.image_size, planned.steps, images.roi_mask)
    with torch.random.fork_rng(), board as observe:
        torch.manual_seed(config.seed)
        model = build_model(config).to(device)
        assert isinstance(model, TrainedDetector)
        state = optimise(
            model,
            repeated,
            config.training,
            config.seed,
            device,
            group=group,
            training_log=training_log,
            progress=progress,
            observe=observe,
        )
    run = Run(
        config=config,
        model=model.eval(),
        source=images.source,
        held_out=HeldOut(),
        times=_times(device),
        roi_mask=images.roi_mask,
        training={
            "steps": state.step,
            "epochs": round(state.step / planned.steps_per_epoch, 3),
            "weights": "those of the last step",
            "best_epoch": state.best_epoch,
            "best_epoch_loss": state.best_loss,
        },
    )
    if group.is_main:
        run.held_out = _score_held_out(run, images, device, progress)
    run.times["training_seconds"] = round(state.seconds, 3)
    run.times["images_per_second"] = round(planned.images_until(state.step) / max(state.seconds, 1e-9), 3)
    return run


def _trained_in_context(
    config: Config,
    images: Images,
    device: torch.device,
    group: ProcessGroup,
    training_log: TrainingLog | None,
    progress: Progress,
    tensorboard: Path | None,
) -> Run:
    paths = sorted_by_content(images.kept)
    with torch.random.fork_rng(), _board(tensorboard, (), config.model.image_size, 1) as observe:
        torch.manual_seed(config.seed)
        trained = train_in_context(
            config,
            paths,
            images.roi_mask,
            device,
            group=group,
            training_log=training_log,
            progress=progress,
            observe=observe,
        )
    state = trained.state
    run = Run(
        config=config,
        model=trained.model.eval(),
        source=images.source,
        held_out=HeldOut(),
        times=_times(device),
        roi_mask=images.roi_mask,
        training={"steps": state.step, "weights": "those of the last step", **trained.record},
    )
    if group.is_main:
        run.held_out = _score_held_out(run, images, device, progress)
    run.times |= {"training_seconds": round(trained.seconds, 3), "of_that_steps": round(state.seconds, 3)}
    return run


@contextmanager
def _board(
    folder: Path | None, paths: Sequence[Path], side: int, steps: int, roi_mask: NDArray[np.bool_] | None = None
) -> Iterator[Observe | None]:
    if folder is None:
        yield None
        return
    board = Board(folder, paths, side, steps, roi_mask)
    try:
        yield board.show
    finally:
        board.close()


def _finished(folder: Path, config: Config, images: Images) -> Run:
    run = load_run(folder)
    check_same(folder, run.config, config)
    now, before = images.source, run.source
    check_data(folder, now.images, now.content_sha256, before.images, before.content_sha256)
    check_region(folder, run.roi_mask, images.roi_mask)
    return run


def _images(category: Category, skip: frozenset[Sample], warn: Callable[[str], None]) -> Images:
    kept, held_out = (tuple(s for s in part if s not in skip) for part in training_split(category))
    if not kept:
        raise DataError(f"'{category.root}' has no usable image to train on")
    if len(kept) + len(held_out) < FEW_IMAGES:
        warn(
            f"only {len(kept)} good images: a detector is fitted, but none are left to calibrate colours and "
            f"thresholds on; give at least {FEW_IMAGES}, better 100"
        )
    return Images(kept=kept, held_out=held_out, source=_source(category, kept, held_out), roi_mask=category.roi_mask)


def _fit_batches(images: Images, size: tuple[int, int], device: torch.device, progress: Progress) -> Iterator[Tensor]:
    with progress("fitting", len(images.kept)) as advance:
        for batch in load_images(images.paths, size, batch_size=fitting_batch(size, FIT_BATCH)):
            yield blanked(batch.images, images.roi_mask).to(device)
            advance(len(batch.indices))


def _score_held_out(run: Run, images: Images, device: torch.device, progress: Progress) -> HeldOut:
    """As `score_held_out`; without held-out images of ``images.kept``.

    Those are good enough for colours, never for thresholds, so their scores are not kept.
    """
    found = score_held_out(run, sorted_by_content(images.held_out or images.kept), device, progress)
    return found if images.held_out else replace(found, scores=(), sha256=(), appearance=())


def sorted_by_content(samples: Sequence[Sample]) -> list[Path]:
    """The samples' files in the order of their content's hash, which renaming does not change."""
    return in_order_of_content([sample.path for sample in samples])


def _source(category: Category, kept: Sequence[Sample], held_out: Sequence[Sample]) -> Source:
    training, others = (sorted(content_hash(sample.path) for sample in part) for part in (kept, held_out))
    return Source(
        category=category.name,
        layout=category.layout,
        trained_on=len(kept),
        held_out=len(held_out),
        content_sha256=hashlib.sha256("".join(sorted([*training, *others])).encode()).hexdigest(),
        training_sha256=tuple(training),
    )


def _times(device: torch.device) -> dict[str, Any]:
    hardware = f"{platform.machine()}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "hardware": hardware}


def _ignore(line: str) -> None:
    """Say nothing."""
