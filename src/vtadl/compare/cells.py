"""One cell of a comparison: a detector trained and evaluated on a category, in a folder of its own.

    DIR/cells/CATEGORY/PRESET-OBJECTIVE-seedN-HASH/
        run/                     the detector, as vtadl train writes it, or a training that can resume
        resampled.safetensors    the metrics on resampled test sets, for paired comparisons
        pictures/                photos and heat maps of a few test images
        cell.json                what came of it; the file that makes the cell done, so it comes last

The hash is of the settings and of the content of images and backbone, so a cell is never taken for another one.
"""

import hashlib
import re
import shutil
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vtadl.compare.outcomes import CELL_FILE, Outcome, Status, read_outcome, write_outcome, write_resampled
from vtadl.compare.pictures import take_snapshots
from vtadl.config.overrides import to_toml
from vtadl.config.schema import Config
from vtadl.data.hashing import content_hash
from vtadl.data.integrity import stop_on_problems
from vtadl.data.layouts import Category
from vtadl.errors import DataError, VtadlError, VtadlWarning
from vtadl.evaluation import Report, evaluate_run
from vtadl.progress import Progress, silent
from vtadl.runs.files import write_text
from vtadl.training.train import train_to

TRACE_FILE = "traceback.txt"
CELLS_FOLDER = "cells"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is to be trained and evaluated."""

    category: Category
    name: str
    """Of the category, as a path below the root."""
    config: Config
    data_sha256: str
    """Of all images and masks, from `data_hash`."""
    own_settings: tuple[str, ...] = ()
    """Settings that its preset has in this comparison, and that are part of the preset's name there."""
    backbone_sha256: str = ""
    """Of a backbone's weights that are the user's own, from `vtadl.runs.weights.backbone_checksum`."""

    @property
    def preset(self) -> str:
        """As tables call it: with settings of its own, ``gaussian model.smoothing=2``."""
        return " ".join([self.config.preset, *self.own_settings])

    @property
    def place(self) -> Path:
        """The cell's folder, below that of the comparison."""
        config = self.config
        words = f"{self.preset} {config.objective or ''}"
        described = f"{self.name}\n{self.data_sha256}\n{to_toml(config)}{self.backbone_sha256}"
        exact = hashlib.sha256(described.encode("utf-8", "surrogateescape")).hexdigest()
        return Path(CELLS_FOLDER, _slug(self.name), f"{_slug(words)}-seed{config.seed}-{exact[:10]}")


def run_cell(cell: Cell, out: Path, device: torch.device, *, progress: Progress = silent) -> Outcome:
    """Train and evaluate, resuming where an earlier try stopped; a cell that is done already is read.

    Returns:
        The outcome, which is on the disk too. A cell that fails is one: its error is in it.

    Raises:
        OSError: the outcome cannot be written.
    """
    folder = out / cell.place
    known = read_outcome(folder)
    if known is not None and known.status == "done":
        return known
    try:
        outcome = _measured(cell, folder, device, progress)
    except Exception as error:
        if not isinstance(error, VtadlError):
            write_text(folder / TRACE_FILE, traceback.format_exc())
        outcome = failed(cell, error)
    write_outcome(folder, outcome)
    return outcome


def failed(cell: Cell, error: Exception | str) -> Outcome:
    """The outcome of a cell that did not come to its end."""
    words = " ".join(str(error).split())
    if isinstance(error, Exception) and not isinstance(error, VtadlError):
        words = f"{type(error).__name__}: {words}"
    return _outcome(cell, "failed", error=words)


def pending(cell: Cell) -> Outcome:
    """The outcome of a cell whose turn has not come."""
    return _outcome(cell, "pending")


def forget(folder: Path) -> None:
    """Remove a cell; what makes it done goes first, so that a kill leaves no half of it that counts."""
    (folder / CELL_FILE).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def data_hash(category: Category) -> str:
    """Of the labels, the splits and the content of all images and masks, whatever their names."""
    lines = sorted(
        f"{sample.split} {sample.label} {_content(sample.path)} {_content(sample.mask) if sample.mask else ''}"
        for sample in category.samples
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _measured(cell: Cell, folder: Path, device: torch.device, progress: Progress) -> Outcome:
    _clear_earlier(folder)
    stop_on_problems(cell.category.samples)
    if not cell.category.test:
        raise DataError(f"'{cell.category.root}' has no test images, so nothing can be compared on it")
    with warnings.catch_warnings(action="ignore", category=VtadlWarning):  # every cell of a category has the same
        run = train_to(folder / "run", cell.config, cell.category, device, resume=True, progress=progress)
    assert run is not None, "a comparison does not run under torchrun"
    report = evaluate_run(run, cell.category, device, progress=progress)
    snapshots = take_snapshots(run, report, folder, device)
    write_resampled(folder, report.evaluation.resampled)
    low, high = run.held_out.colour_low, run.held_out.colour_high
    return _outcome(
        cell,
        "done",
        metrics=report.metrics,
        images=_images(report, cell.category),
        protocol=report.protocol,
        colours=(low, high),
        snapshots=snapshots,
    )


def _outcome(cell: Cell, status: Status, **values: Any) -> Outcome:
    config = cell.config
    return Outcome(
        category=cell.name,
        preset=cell.preset,
        objective=config.objective,
        seed=config.seed,
        status=status,
        **values,
    )


def _images(report: Report, category: Category) -> tuple[tuple[str, str, float], ...]:
    return tuple(
        (category.relative(sample.path), sample.label, score)
        for sample, score in zip(report.samples, report.scores, strict=True)
    )


def _clear_earlier(folder: Path) -> None:
    """Remove what a kill left half-written (names that begin with a dot), and the traceback of an earlier try."""
    (folder / TRACE_FILE).unlink(missing_ok=True)
    for left in folder.glob(".*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _content(path: Path) -> str:
    try:
        if path.is_dir():  # the masks of one image
            return " ".join(sorted(content_hash(part) for part in path.iterdir()))
        return content_hash(path)
    except DataError:
        return "unreadable"  # its cells fail, and say why


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:60] or "category"
