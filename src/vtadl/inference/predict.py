"""Score images with a trained detector: each at its own size, in bounded memory."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.data.likeness import tell_unlike
from vtadl.data.loading import load_images
from vtadl.data.resizing import resize_image, resize_map
from vtadl.data.roi import blanked, fitted_mask
from vtadl.data.value_range import in_range
from vtadl.decision.decide import Prediction, decide
from vtadl.errors import ConfigError, DataError
from vtadl.runs.run import LOOK, Run

__all__ = ["BATCH_SIZES", "Prediction", "ScoredFile", "pick_device", "predict_files", "predict_image", "warn_of_unlike"]

BATCH_SIZES = {"cpu": 1, "cuda": 8}
"""Images scored at a time. On a CPU one: beside others an image's score differs in its last bits, so that a prediction
that was cut off would not resume to the same rows. On two cores `gaussian` takes 16 ms an image then, and 14 ms of
eight at a time."""


@dataclass(frozen=True, kw_only=True)
class ScoredFile:
    """A prediction for a file, with the pixels that were read."""

    index: int
    """Where the file stands in the list of paths."""
    path: Path
    prediction: Prediction
    original: NDArray[Any] | None
    """``(H, W, 3)`` uint8 or uint16, if asked for."""
    milliseconds: float
    """What scoring took: its share of the batch's, and resizing the map. Decoding runs beside it."""


def pick_device(name: str) -> torch.device:
    """The device of this name: ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device '{name}'; choose from: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available; use --device auto or cpu")
    return torch.device(name)


def predict_image(run: Run, image: NDArray[Any], device: torch.device) -> Prediction:
    """Score one decoded image, ``(H, W, 3)`` uint8 or uint16."""
    resized = torch.from_numpy(resize_image(in_range(image, run.config.data.pair), run.input_size))
    anomaly_map = _anomaly_maps(run, resized[None], device)[0]
    return _prediction(run, anomaly_map, image.shape[:2], "the image")


def predict_files(
    run: Run,
    paths: Sequence[Path],
    device: torch.device,
    *,
    on_error: Callable[[Path, DataError], None] | None = None,
    keep_originals: bool = False,
    batch_size: int | None = None,
) -> Iterator[ScoredFile]:
    """Score files in their order; decoding runs ahead of the model, and only a few images are held at a time.

    Args:
        run: the detector.
        paths: image files.
        device: where the model runs.
        on_error: called with each file that cannot be read, which is then skipped; without it the first one raises.
        keep_originals: also give the decoded pixels.
        batch_size: images scored at a time; ``None``: what suits the device.

    Raises:
        DataError: a file cannot be read (without ``on_error``), or its scores are NaN.
    """
    run.model.to(device)
    batch_size = batch_size or BATCH_SIZES[device.type]
    batches = load_images(
        paths,
        run.input_size,
        batch_size=batch_size,
        on_error=on_error,
        keep_originals=keep_originals,
        value_range=run.config.data.pair,
    )
    for batch in batches:
        started = time.perf_counter()
        maps_BHW = _anomaly_maps(run, batch.images, device)
        shared = (time.perf_counter() - started) / len(batch.indices)
        nothing: list[NDArray[Any] | None] = [None] * len(batch.indices)
        originals: Sequence[NDArray[Any] | None] = batch.originals or nothing
        for index, anomaly_map, size, original in zip(batch.indices, maps_BHW, batch.sizes, originals, strict=True):
            path, started = paths[index], time.perf_counter()
            prediction = _prediction(run, anomaly_map, size, f"'{path}'")
            milliseconds = 1000 * (shared + time.perf_counter() - started)
            yield ScoredFile(
                index=index, path=path, prediction=prediction, original=original, milliseconds=milliseconds
            )


def warn_of_unlike(
    run: Run, name: str, image: NDArray[Any] | None, told: set[str], warn: Callable[[str], None]
) -> None:
    """`vtadl.data.likeness.tell_unlike`, of a detector's training images; of no image (``None``) nothing is known."""
    if image is not None:
        tell_unlike(run.training.get(LOOK, {}), name, image, told, warn)


class _Process:
    """Whether this process can compute: threads do not survive a fork, and OpenMP waits for them for ever."""

    has_threads = False
    lost_threads = False

    @classmethod
    def forked(cls) -> None:
        cls.lost_threads = cls.lost_threads or cls.has_threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Process.forked)


def _check_process() -> None:
    if _Process.lost_threads:
        raise ConfigError(
            "this process was forked from one that had computed with threads, which it does not have: start workers "
            "with multiprocessing.get_context('spawn'), or compute with one thread "
            "(VTADL_THREADS=1)"
        )
    _Process.has_threads = _Process.has_threads or torch.get_num_threads() > 1


def _anomaly_maps(run: Run, images_B3HW: torch.Tensor, device: torch.device) -> NDArray[np.float32]:
    _check_process()
    model = run.model.to(device).eval()
    with torch.inference_mode():
        maps_BHW: torch.Tensor = model.anomaly_map(blanked(images_B3HW, run.roi_mask).to(device))  # type: ignore[operator]
    return maps_BHW.float().cpu().numpy()


def _prediction(run: Run, anomaly_map: NDArray[np.float32], size: tuple[int, ...], name: str) -> Prediction:
    full = resize_map(anomaly_map, (size[0], size[1]))
    if np.isnan(full.max()):
        raise DataError(f"the detector scores {name} as NaN; the run is damaged or was trained on broken images")
    roi_mask = None if run.roi_mask is None else fitted_mask(run.roi_mask, (size[0], size[1]))
    return decide(full, run.card, roi_mask)
