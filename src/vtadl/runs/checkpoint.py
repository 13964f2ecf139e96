"""Unfinished trainings on disk, so that one that was killed resumes as if nothing had happened.

    RUN/config.toml             the settings
    RUN/log.jsonl               a line a step
    RUN/checkpoint.safetensors  weights, optimiser, generators; step, best so far and length of the log as metadata

The checkpoint is one file and appears by one rename, so its parts can never be of different steps. The log is on the
disk up to the length that a checkpoint states before that checkpoint appears; what comes later is cut off on resuming.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from vtadl.errors import BundleError, TrainingError
from vtadl.runs.record import LOG_FILE

CHECKPOINT_FILE = "checkpoint.safetensors"
CHECKPOINT_FORMAT = 2
"""Checkpoints of format 1, which did not state it, name their tensors otherwise."""

_PARTIAL_FILE = f".{CHECKPOINT_FILE}.partial"
"""One name for all: what a kill leaves behind is overwritten by the next checkpoint, not joined by it."""
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """How far a training is, beside its tensors."""

    step: int = 0
    """Optimiser steps done."""
    epoch_loss: float = 0.0
    """Sum of the loss over the images of the epoch so far."""
    epoch_images: int = 0
    best_epoch: int | None = None
    """Epoch, counted from 1, with the lowest mean training loss: a record, not what is kept."""
    best_loss: float | None = None
    first_variance: float | None = None
    """Variance of the embeddings at the first step, to notice a collapse."""
    log_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What must be the same for a training to resume (settings and data), and what should be."""

    config: str
    """The settings as TOML."""
    images: int
    """Images that are trained on or held out."""
    content_sha256: str
    torch: str
    threads: int
    processes: int
    device: str


class TrainingLog:
    """The log and the checkpoint of one training, whose folder has ``config.toml`` and ``log.jsonl``.

    Of several processes one ``writes``; the others only read.
    """

    def __init__(self, folder: Path, conditions: Conditions, *, writes: bool = True) -> None:
        self.folder = folder
        self.conditions = conditions
        self.writes = writes
        self.saved_step: int | None = None
        self._log = (folder / LOG_FILE).open("ab") if writes else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    def restore(self, model: nn.Module, optimizer: Optimizer) -> TrainingState:
        """Put model, optimiser, generators and log into the state of the checkpoint; without one, begin.

        Raises:
            BundleError: the checkpoint is damaged or of another model.
        """
        state = TrainingState()
        if (self.folder / CHECKPOINT_FILE).exists():
            tensors, metadata = read_checkpoint(self.folder / CHECKPOINT_FILE)
            try:
                state = TrainingState(**metadata["state"])
                _load_tensors(tensors, model, optimizer)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise _damaged(self.folder / CHECKPOINT_FILE, error) from error
            self.saved_step = state.step
        if self._log is not None:
            if self._log.seek(0, os.SEEK_END) < state.log_bytes:
                raise _damaged(self.folder / LOG_FILE, "it is shorter than its checkpoint says")
            self._log.truncate(state.log_bytes)
            self._log.seek(state.log_bytes)
        return state

    def save(self, model: nn.Module, optimizer: Optimizer, state: TrainingState) -> None:
        """Write a checkpoint in place of the last one.

        Raises:
            TrainingError: it cannot be written; the last one is kept.
        """
        if self._log is None:
            return
        try:
            self._log.flush()
            os.fsync(self._log.fileno())
            values = {**asdict(state), "log_bytes": self._log.tell()}
            metadata = {"state": values, "conditions": asdict(self.conditions)}
            write_checkpoint(self.folder / CHECKPOINT_FILE, _tensors(model, optimizer), metadata)
        except OSError as error:
            raise self._cannot_write(CHECKPOINT_FILE, error) from error
        self.saved_step = state.step

    def log(self, line: Mapping[str, Any]) -> None:
        """Append a line; others may read it at once.

        Raises:
            TrainingError: it cannot be written.
        """
        if self._log is None:
            return
        try:
            self._log.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._log.flush()
        except OSError as error:
            raise self._cannot_write(LOG_FILE, error) from error

    def kept(self) -> str:
        """What is left of a training that ends now, for a message."""
        if self.saved_step is None:
            return "no checkpoint was written yet"
        return f"the last good state, step {self.saved_step}, is kept in '{self.folder}'"

    def _cannot_write(self, name: str, error: OSError) -> TrainingError:
        return TrainingError(
            f"cannot write '{self.folder / name}': {error.strerror}; {self.kept()}; make room, then continue with "
            "--resume"
        )


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file; it is on the disk, whole, before it takes its place.

    Tensor after tensor, unlike safetensors' own writer, which holds a copy of all of them; and with errors of the
    operating system as they are.

    Raises:
        OSError: it cannot be written; what was at ``path`` is still there.
    """
    header: dict[str, Any] = {
        "__metadata__": {"format": str(CHECKPOINT_FORMAT), "vtadl": json.dumps(metadata, allow_nan=False)}
    }
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(_PARTIAL_FILE)
    try:
        with partial.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in tensors.values():
                file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` wrote.

    Raises:
        BundleError: it is damaged.
    """
    metadata = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """State and conditions of a checkpoint, without its tensors.

    Raises:
        BundleError: it is damaged, or of another version's training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            metadata = json.loads(header.get("vtadl", "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(metadata, dict):
        raise _damaged(path, "it has no metadata")
    written = header.get("format", "1")
    if written != str(CHECKPOINT_FORMAT):
        raise BundleError(
            f"'{path}' has format {written}, of an unfinished training of another version of vtadl; expected format "
            f"{CHECKPOINT_FORMAT}: finish it with that version, or start again with --force"
        )
    return metadata


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk and not only on their way to it."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_checkpoint(folder: Path) -> None:
    """Remove what a finished run does not need."""
    for name in (CHECKPOINT_FILE, _PARTIAL_FILE):
        (folder / name).unlink(missing_ok=True)


def _tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for parameter, values in optimizer.state.items():
        tensors |= {f"optimizer.{key}.{names[parameter]}": tensor for key, tensor in values.items()}
    tensors["generator.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["generator.cuda"] = torch.cuda.get_rng_state()
    return tensors


def _load_tensors(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: Optimizer) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "generator": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    model.load_state_dict(parts["model"])
    moments: dict[str, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        key, _, parameter_name = name.partition(".")
        # A copy: the optimiser keeps the tensor as it is, and this one is a view of the file.
        moments.setdefault(parameter_name, {})[key] = tensor.clone()
    names = {parameter: name for name, parameter in model.named_parameters()}
    states = {}
    for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        values = moments.get(names[parameter], {})
        if any(tensor.shape not in (parameter.shape, torch.Size()) for tensor in values.values()):
            raise ValueError(f"the optimiser's state of {names[parameter]} has another shape")
        if values:
            states[index] = values
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    torch.set_rng_state(parts["generator"]["cpu"])
    if "cuda" in parts["generator"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(parts["generator"]["cuda"])


def _damaged(path: Path, reason: object) -> BundleError:
    words = " ".join(str(reason).split())
    return BundleError(f"'{path}' is damaged: {words}; start again with --force")
