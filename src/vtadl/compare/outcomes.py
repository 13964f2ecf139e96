"""What came of a cell, on the disk."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as array_bytes

from vtadl.compare.pictures import Snapshot
from vtadl.errors import BundleError
from vtadl.runs.files import write_bytes, write_text
from vtadl.version import __version__

FORMAT = 1
CELL_FILE, RESAMPLED_FILE = "cell.json", "resampled.safetensors"

Status = Literal["done", "failed", "pending"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a cell."""

    category: str
    preset: str
    objective: str | None
    seed: int
    status: Status
    metrics: dict[str, float | None] = field(default_factory=dict)
    error: str | None = None
    images: tuple[tuple[str, str, float], ...] = ()
    """Name, label and score of each test image."""
    protocol: dict[str, Any] = field(default_factory=dict)
    colours: tuple[float, float] = (0.0, 1.0)
    """The ends of the heat maps' scale."""
    snapshots: tuple[Snapshot, ...] = ()


def read_outcome(folder: Path) -> Outcome | None:
    """What a cell's folder says of it; ``None`` where it says nothing yet.

    Raises:
        BundleError: the file is damaged.
    """
    path = folder / CELL_FILE
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") > FORMAT:
            raise BundleError(f"'{path}' was written by vtadl {content.get('vtadl')}; this is {__version__}: upgrade")
        del content["vtadl"]
        content["snapshots"] = tuple(Snapshot(**snapshot) for snapshot in content["snapshots"])
        content["images"] = tuple((name, label, float(score)) for name, label, score in content["images"])
        low, high = content["colours"]
        return Outcome(**{**content, "colours": (float(low), float(high))})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"'{path}' is damaged: {error!r}; remove its folder and start again") from error


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Make a cell done, or failed."""
    content = {"format": FORMAT, "vtadl": __version__, **asdict(outcome)}
    write_text(folder / CELL_FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_resampled(folder: Path) -> dict[str, NDArray[np.float64]]:
    """``(S,)`` values of each metric on resampled test sets.

    Raises:
        BundleError: the file is missing or damaged.
    """
    path = folder / RESAMPLED_FILE
    try:
        return dict(load_arrays(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise BundleError(f"'{path}' cannot be read: {error}; remove its folder and start again") from error


def write_resampled(folder: Path, metrics: Mapping[str, NDArray[np.float64]]) -> None:
    """Keep what `read_resampled` reads."""
    write_bytes(folder / RESAMPLED_FILE, array_bytes(dict(metrics)))
