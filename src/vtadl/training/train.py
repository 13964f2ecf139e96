"""Train a detector on the good images of a category."""

import platform
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vtadl.config.schema import SQUARE, Config, with_aspect, with_measured_of, with_range
from vtadl.data.aspect import common_aspect
from vtadl.data.layouts import Category, Sample
from vtadl.data.likeness import look_of
from vtadl.data.splits import FEW_IMAGES
from vtadl.data.training_images import GoodImages, TrainingImages, good_images
from vtadl.data.value_range import described, measure_range
from vtadl.errors import ConfigError, DataError, VtadlWarning, warn_caller
from vtadl.inference.held_out import score_held_out
from vtadl.models.build import AnyDetector, build_model, check_model
from vtadl.models.protocol import Fitted
from vtadl.progress import Progress, silent
from vtadl.runs.checkpoint import TrainingLog
from vtadl.runs.folders import check_free
from vtadl.runs.learned import Learned
from vtadl.runs.ownership import sole_writer
from vtadl.runs.processor import processor
from vtadl.runs.record import is_unfinished
from vtadl.runs.run import (
    LOOK,
    HeldOut,
    Run,
    Source,
    begin_run,
    finish_run,
    load_run,
    now,
    read_region,
    save_run,
)
from vtadl.training.distributed import joined, launched_rank
from vtadl.training.resume import check_conditions, check_data, check_region, check_same, conditions_of, resumed_config
from vtadl.training.schedule import plan
from vtadl.training.session import TrainingSession
from vtadl.training.tensorboard import Board, check_installed


def train_run(
    config: Config,
    category: Category,
    device: torch.device,
    *,
    skip: frozenset[Sample] = frozenset(),
    progress: Progress = silent,
) -> Run:
    """Train on the category's good images, the held-out ones apart, and score those. Nothing is written.

    Raises:
        ConfigError: settings that do not fit together.
        DataError: no usable good image.
        TrainingError: training cannot continue.
    """
    check_model(config)
    images = _good_images(category, skip)
    config = _resolved(config, images.kept)
    session = TrainingSession(config=config, device=device, progress=progress)
    return _trained(images.with_range(config.data.pair), session)


def train_to(
    folder: Path,
    config: Config,
    category: Category,
    device: torch.device,
    *,
    force: bool = False,
    resume: bool = False,
    skip: frozenset[Sample] = frozenset(),
    tensorboard: Path | None = None,
    progress: Progress = silent,
) -> Run | None:
    """Train into a run folder, where a training that is cut off can resume later; processes of torchrun train together.

    To ``resume`` is to begin where there is nothing, and to do nothing where it is finished.

    Returns: the run; ``None`` in a process that does not write.

    Raises:
        ConfigError: settings that do not fit together, or are not those of the training to resume.
        DataError: no usable good image, or others than the training to resume had.
        BundleError: the folder is in the way, damaged, or cannot be written.
        TrainingError: training cannot continue.
        TrainingInterrupted: Ctrl-C, after a checkpoint.
    """
    _check(config, tensorboard)
    with joined(device) as (group, device), _heard_once(group.is_main):
        if not group.is_main:
            progress, tensorboard = silent, None
        images = _good_images(category, skip)
        stored = resumed_config(folder, lambda stored: with_measured_of(config, stored)) if resume else None
        config = stored or _resolved(config, images.kept)
        images = images.with_range(config.data.pair)
        if resume and (folder / "run.json").exists():
            return _finished(folder, config, images)
        session = TrainingSession(config=config, device=device, group=group, progress=progress)
        with sole_writer(folder) if group.is_main else nullcontext():
            if config.objective is None:
                return _trained_at_once(folder, images, session, force)
            return _trained_in_steps(folder, images, session, tensorboard, force, resume)


def _trained(images: GoodImages, session: TrainingSession) -> Run:
    started = time.perf_counter()
    model, fitted = _fitted(images.kept, session)
    run = new_run(model, fitted, Source.of(images), images.kept.roi_mask, session)
    if session.group.is_main:
        run.training = {**run.training, LOOK: look_of(images.kept.paths, images.kept.value_range)}
        run.held_out = _calibrated(run, images, session)
    run.times = {"training_seconds": round(time.perf_counter() - started, 3), **run.times}
    return run


def _fitted(kept: TrainingImages, session: TrainingSession) -> tuple[AnyDetector, Fitted]:
    with torch.random.fork_rng():
        torch.manual_seed(session.seed)
        model = build_model(session.config).to(session.device)
        fitted = model.fit(kept, session)
    return model, fitted


def new_run(
    model: nn.Module,
    fitted: Fitted,
    source: Source,
    roi_mask: NDArray[np.bool_] | None,
    session: TrainingSession,
) -> Run:
    """A run of a fitted model, not yet calibrated."""
    hardware = f"{platform.machine()}, {torch.get_num_threads()} threads"
    if session.device.type == "cuda":
        hardware = torch.cuda.get_device_name(session.device)
    return Run(
        config=session.config,
        model=model.eval(),
        source=source,
        held_out=HeldOut(),
        times={"date": now(), "hardware": hardware, "processor": processor(), **fitted.times},
        training=dict(fitted.record),
        roi_mask=roi_mask,
        learned=Learned(held=fitted.learned) if fitted.learned else None,
    )


def _calibrated(run: Run, images: GoodImages, session: TrainingSession) -> HeldOut:
    """How held-out images score; of so few images that none is held out, the colours alone."""
    if len(images.held_out):
        return score_held_out(run, images.held_out, session.device, session.progress)
    unseen = images.kept
    if session.config.objective is None and len(images.kept) > 1:
        # A training image scores far lower than a new one; of few images, next to nothing. So the colours come from a
        # second detector that learns from every other image and scores the rest.
        run = replace(run, model=_fitted(images.kept[::2], session)[0].eval())
        unseen = images.kept[1::2]
    # Good enough for colours, never for thresholds.
    return score_held_out(run, unseen, session.device, session.progress).colours


def _trained_at_once(folder: Path, images: GoodImages, session: TrainingSession, force: bool) -> Run:
    check_free(folder, force=force)
    run = _trained(images, session)
    save_run(run, folder, force=force)
    return run


def _trained_in_steps(
    folder: Path,
    images: GoodImages,
    session: TrainingSession,
    tensorboard: Path | None,
    force: bool,
    resume: bool,
) -> Run | None:
    """Train in the folder, with log and checkpoints."""
    config, group, roi_mask = session.config, session.group, images.kept.roi_mask
    conditions = conditions_of(config, Source.of(images), session.device, group)
    if group.is_main and not (resume and is_unfinished(folder)):
        begin_run(folder, config, roi_mask, force=force)
    group.wait()
    check_region(folder, read_region(folder), roi_mask)
    check_conditions(folder, config, conditions)
    with (
        TrainingLog(folder, conditions, writes=group.is_main) as training_log,
        _board(tensorboard, config, images) as board,
    ):
        observe = None if board is None else board.show
        run = _trained(images, replace(session, training_log=training_log, observe=observe))
    if not group.is_main:
        return None
    finish_run(run, folder)
    return run


def _board(folder: Path | None, config: Config, images: GoodImages) -> AbstractContextManager[Board | None]:
    if folder is None:
        return nullcontext()
    shown = images.held_out if len(images.held_out) else images.kept
    return Board(folder, shown.paths, plan(config.training, len(images.kept)).steps, shown.roi_mask, shown.value_range)


def _finished(folder: Path, config: Config, images: GoodImages) -> Run:
    run, source = load_run(folder), Source.of(images)
    check_same(folder, run.config, config)
    check_data(folder, source.images, source.content_sha256, run.source.images, run.source.content_sha256)
    check_region(folder, run.roi_mask, images.kept.roi_mask)
    return run


def _heard_once(is_main: bool) -> AbstractContextManager[object]:
    """Of several processes, one warns."""
    return nullcontext() if is_main else warnings.catch_warnings(action="ignore", category=VtadlWarning)


def _good_images(category: Category, skip: frozenset[Sample]) -> GoodImages:
    images = good_images(category, skip)
    if not len(images.kept):
        raise DataError(f"'{category.root}' has no usable image to train on")
    if len(images.kept) + len(images.held_out) < FEW_IMAGES:
        warn_caller(
            f"only {len(images.kept)} good images: a detector is fitted, but none are left to calibrate colours and "
            f"thresholds on; give at least {FEW_IMAGES}, better 100"
        )
    return images


def _resolved(config: Config, images: TrainingImages) -> Config:
    """The settings with what they leave to the images chosen."""
    if config.data.range is None and (measured := measure_range(images.paths)) is not None:
        config = with_range(config, measured)
        warn_caller(f"{described(measured)} (--set data.range= sets bits or two values)")
    if getattr(config.model, "aspect", SQUARE) is not None:
        return config
    chosen = with_aspect(config, common_aspect(images.paths))
    check_model(chosen)
    return chosen


def _check(config: Config, tensorboard: Path | None) -> None:
    """Refuse settings that do not fit together, and what goes with optimiser steps where there are none."""
    check_model(config)
    if config.objective is None and launched_rank() is not None:
        raise ConfigError(f"preset '{config.preset}' is fitted by one process; start it without torchrun")
    if config.objective is None and tensorboard is not None:
        raise ConfigError(f"preset '{config.preset}' is fitted without steps, so --tensorboard has nothing to show")
    if tensorboard is not None:
        check_installed()
