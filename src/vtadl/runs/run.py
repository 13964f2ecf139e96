"""A run folder on disk: weights as safetensors, settings as TOML, the rest as JSON. Nothing in it can run code.

    RUN/config.toml          the settings
    RUN/weights.safetensors  the fitted or trained tensors; a frozen backbone's own weights are not repeated
    RUN/learned.safetensors  what `vtadl teach` needs beside the weights, where the preset can be taught
    RUN/run.json             format, versions, what it was trained on, scores of the held-out good images
    RUN/times.json           dates, durations and hardware: the only file that differs between equal runs
    RUN/log.jsonl            a line a training step, where there were steps
    RUN/region_of_interest.png  what counts of every image, where that is not everything
    RUN/card.json            the decision card, once the detector is calibrated; RUN/card.html shows it

A folder is a finished run if it has ``run.json``. One that is fitted in one go appears whole: it is written beside its
place and renamed. One that is trained grows in its place (see `vtadl.runs.checkpoint`), and ``run.json`` comes last.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vtadl.config.overrides import to_toml
from vtadl.config.schema import Config
from vtadl.data.likeness import checked_look
from vtadl.data.roi import REGION_FILE, mask_png, read_stored_mask
from vtadl.data.training_images import GoodImages
from vtadl.decision.card import CARD_FILE, Card, to_json
from vtadl.errors import BundleError, ConfigError, DataError, PluginError
from vtadl.runs.checkpoint import remove_checkpoint, sync
from vtadl.runs.files import write_bytes
from vtadl.runs.folders import new_folder
from vtadl.runs.learned import Learned
from vtadl.runs.origin import TIMES_FILE
from vtadl.runs.record import (
    CONFIG_FILE,
    FORMAT,
    LEARNED_FILE,
    LOG_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    damaged,
    describe_but_weights,
)
from vtadl.runs.weights import load_weights, weights_of
from vtadl.version import __version__

LOOK = "images"
"""Key of `Run.training`: what the training images have in common (`vtadl.data.likeness`)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a detector was trained on."""

    category: str
    layout: str
    trained_on: int
    held_out: int
    content_sha256: str
    """Of the sorted content hashes of all training and held-out images: equal for equal data, whatever its names."""
    training_sha256: tuple[str, ...] = ()
    """Content hashes of the training images, sorted: their scores calibrate nothing."""

    @classmethod
    def of(cls, images: GoodImages) -> Self:
        """What a training on some images has."""
        return cls(
            category=images.category,
            layout=images.layout,
            trained_on=len(images.kept),
            held_out=len(images.held_out),
            content_sha256=images.sha256,
            training_sha256=images.kept.sha256,
        )

    @property
    def images(self) -> int:
        """Training and held-out images together."""
        return self.trained_on + self.held_out


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How the good images that were held out of training score; calibrates colours and thresholds, nothing else."""

    scores: tuple[float, ...] = ()
    """Image scores, in the order of the images' content hashes."""
    sha256: tuple[str, ...] = ()
    """Content hash of each image."""
    appearance: tuple[tuple[float, float, float], ...] = ()
    """Brightness, contrast and sharpness of each image (`vtadl.data.appearance`)."""
    colour_low: float = 0.0
    """Score that the heat maps show as calm: the median pixel of good images."""
    colour_high: float = 1.0
    """Score that the heat maps show as fully abnormal."""

    @property
    def colours(self) -> "HeldOut":
        """The colours alone, of images whose scores calibrate nothing: they may have been trained on."""
        return HeldOut(colour_low=self.colour_low, colour_high=self.colour_high)


@dataclass(kw_only=True)
class Run:
    """A trained detector with everything that is stored beside it."""

    config: Config
    model: nn.Module
    source: Source
    held_out: HeldOut
    times: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    """Steps, epochs and the best epoch, where there were any."""
    roi_mask: NDArray[np.bool_] | None = None
    """Region of interest; ``None``: all of every image counts."""
    card: Card | None = None
    """How scores become verdicts; ``None`` until it is calibrated."""
    learned: Learned | None = None
    """What teaching it more images takes beside its weights; ``None``: it cannot be taught."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that an image is resized to for the model."""
        size: tuple[int, int] = self.model.input_size  # type: ignore[assignment]
        return size


def save_run(run: Run, folder: Path, *, force: bool = False) -> None:
    """Write a run; it appears whole or not at all.

    Raises:
        BundleError: the folder exists (and no ``force``), or cannot be written.
    """
    files = run_files(run)
    with new_folder(folder, force=force) as partial:
        for name, content in files.items():
            (partial / name).write_bytes(content)


def begin_run(folder: Path, config: Config, roi_mask: NDArray[np.bool_] | None = None, *, force: bool = False) -> None:
    """Make the folder of a training: an unfinished run without any step.

    Raises:
        BundleError: the folder exists (and no ``force``), or cannot be written.
    """
    with new_folder(folder, force=force) as partial:
        (partial / CONFIG_FILE).write_text(to_toml(config), encoding="utf-8")
        (partial / LOG_FILE).touch()
        if roi_mask is not None:
            (partial / REGION_FILE).write_bytes(mask_png(roi_mask))


def finish_run(run: Run, folder: Path) -> None:
    """Turn the folder of a training that has ended into a finished run.

    Raises:
        BundleError: it cannot be written; the training can still resume from its checkpoint.
    """
    files = run_files(run)
    try:
        for name in sorted(files, key=lambda name: name == RECORD_FILE):
            write_bytes(folder / name, files[name])
            sync(folder / name)
        remove_checkpoint(folder)
    except OSError as error:
        raise BundleError(
            f"cannot write '{folder}': {error.strerror}; the trained weights are kept: make room, then --resume"
        ) from error


def run_files(run: Run) -> dict[str, bytes]:
    """The files of a run by name, but for the pages beside them."""
    weights = weights_of(run.model)
    learned = {} if run.learned is None else {LEARNED_FILE: run.learned.content()}
    record = {
        "format": FORMAT,
        "vtadl": __version__,
        "torch": torch.__version__,
        "preset": run.config.preset,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "input_size": list(run.input_size),
        "source": asdict(run.source),
        "training": run.training,
        "held_out": asdict(run.held_out),
    }
    if run.learned is not None:
        record["learned_sha256"] = hashlib.sha256(learned[LEARNED_FILE]).hexdigest()
    card = {} if run.card is None else {CARD_FILE: to_json(run.card).encode()}
    region = {} if run.roi_mask is None else {REGION_FILE: mask_png(run.roi_mask)}
    return {
        **card,
        **region,
        **learned,
        CONFIG_FILE: to_toml(run.config).encode(),
        WEIGHTS_FILE: weights,
        RECORD_FILE: (json.dumps(record, indent=2, allow_nan=False) + "\n").encode(),
        TIMES_FILE: (json.dumps(run.times, indent=2) + "\n").encode(),
    }


def load_run(folder: Path) -> Run:
    """Read a run back, verified.

    Raises:
        BundleError: no run, an unfinished, damaged or newer one.
    """
    found = describe_but_weights(folder)
    record = found.record
    try:
        source, held_out = _source(record["source"]), _held_out(record["held_out"])
        training = dict(record.get("training", {}))
        checked_look(training.get(LOOK, {}))
        model = load_weights(folder / WEIGHTS_FILE, found.config, record["weights_sha256"])
    except (BundleError, PluginError):
        raise
    except (ConfigError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(folder, error) from error
    return Run(
        config=found.config,
        model=model,
        source=source,
        held_out=held_out,
        times=found.times,
        training=training,
        roi_mask=read_region(folder),
        card=found.card,
        learned=Learned.stored(folder / LEARNED_FILE, record.get("learned_sha256")),
    )


def read_region(folder: Path) -> NDArray[np.bool_] | None:
    """The region of interest of a run, finished or not; ``None`` where it has none.

    Raises:
        BundleError: it is damaged.
    """
    if not (folder / REGION_FILE).exists():
        return None
    try:
        return read_stored_mask(folder / REGION_FILE)
    except DataError as error:
        raise BundleError(f"{error}; or train again") from error


def now() -> str:
    """Date and time as records say it, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def weights_sha256(model: nn.Module) -> str:
    """Checksum of what a run stores of a model: tells detectors apart."""
    return hashlib.sha256(weights_of(model)).hexdigest()


def _source(values: dict[str, Any]) -> Source:
    return Source(**{**values, "training_sha256": tuple(str(sha) for sha in values.get("training_sha256", ()))})


def _held_out(values: dict[str, Any]) -> HeldOut:
    appearance = [(float(b), float(c), float(s)) for b, c, s in values.get("appearance", ())]
    scores = tuple(float(score) for score in values["scores"])
    lists = {
        "scores": scores,
        "sha256": tuple(str(sha) for sha in values.get("sha256", ())),
        "appearance": tuple(appearance),
    }
    colours = {name: float(values[name]) for name in ("colour_low", "colour_high")}
    if not all(map(math.isfinite, (*scores, *colours.values(), *chain(*appearance)))):
        raise ValueError("a score of held-out images is not finite")
    return HeldOut(**{**values, **lists, **colours})
