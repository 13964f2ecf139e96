"""Write a detector as a model for other programs, and prove that it says the same.

The folder that `export_run` writes is described in `vtadl.runtime.manifest`; `vtadl.runtime` reads it without torch.
"""

import hashlib
import json
import platform
import statistics
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.data.images import read_image
from vtadl.data.layouts import find_images
from vtadl.data.roi import REGION_FILE, mask_png
from vtadl.decision.card import CARD_FILE, Card
from vtadl.decision.card import to_json as card_to_json
from vtadl.decision.decide import Prediction
from vtadl.demo.photographs import sample_photographs
from vtadl.errors import ExportError, VtadlWarning
from vtadl.export.onnx_graph import build_graph
from vtadl.export.openvino import convert
from vtadl.inference.predict import predict_image
from vtadl.runs.folders import new_folder
from vtadl.runs.processor import processor
from vtadl.runs.run import LOOK, Run, now, weights_sha256
from vtadl.runtime import manifest as written
from vtadl.runtime.detector import ExportedDetector, load
from vtadl.runtime.manifest import MODEL_FILES, Manifest, Runtime
from vtadl.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4
"""Of the highest score of an image's map: how far any pixel of the exported model's map may be off."""
SAMPLES = 20
"""Images of a folder that are compared, at most, spread evenly over it."""
TIMED = 15

Image = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export came to."""

    manifest: Manifest
    megabytes: float
    """Of the model's files."""
    milliseconds: dict[str, float]
    """Median time from pixels to anomaly map of an image of the model's own size: exported, and in PyTorch
    (float32)."""


def export_run(
    run: Run,
    folder: Path,
    *,
    to: Runtime,
    images: Iterable[Image],
    force: bool = False,
) -> Exported:
    """Export a detector; the folder appears whole, and only if the model agrees with PyTorch on the images.

    Args:
        run: the detector; it is moved to the CPU.
        folder: to write.
        to: kind of model.
        images: samples ``(H, W, 3)``, uint8 or uint16, one at least; they are not stored.
        force: replace an earlier export.

    Raises:
        ExportError: the exported model does not agree.
        DependencyError: a package for exporting is not installed.
        BundleError: the folder exists (and no ``force``), or cannot be written.
    """
    run.model.cpu()
    images = iter(images)
    first = next(images, None)  # before the work, which would be in vain without any
    if first is None:
        raise ExportError("an export needs at least one sample image to compare; got none")
    with new_folder(folder, force=force) as partial:
        _write_model(build_graph(run), partial, to)
        if run.card is not None:
            (partial / CARD_FILE).write_text(card_to_json(run.card), encoding="utf-8")
        if run.roi_mask is not None:
            (partial / REGION_FILE).write_bytes(mask_png(run.roi_mask))
        manifest = _manifest(run, partial, to)
        (partial / written.MANIFEST_FILE).write_text(written.to_json(manifest), encoding="utf-8")
        exported = load(partial)
        with warnings.catch_warnings(action="ignore", category=VtadlWarning):  # samples may be unlike its images
            manifest = replace(manifest, agreement=compare(run, exported, chain([first], images)))
            times = _times(run, exported)
        (partial / written.MANIFEST_FILE).write_text(written.to_json(manifest), encoding="utf-8")
        (partial / written.TIMES_FILE).write_text(json.dumps(times, indent=2) + "\n", encoding="utf-8")
        size = sum((partial / name).stat().st_size for name in MODEL_FILES[to])
    return Exported(manifest=manifest, megabytes=size / 1e6, milliseconds=times["milliseconds"])


def compare(
    run: Run, exported: ExportedDetector, images: Iterable[Image], tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """How closely an exported detector agrees with the run it came from.

    Returns:
        The number of images and the largest differences of maps and scores, in shares of each map's highest score.

    Raises:
        ExportError: a map or a score differs by more than ``tolerance``, or a verdict differs although the score is
            farther than that from its threshold.
    """
    maps, scores = [], []
    for image in images:
        ours, theirs = predict_image(run, image, torch.device("cpu")), exported.predict(image)
        scale = float(np.abs(ours.anomaly_map).max()) or 1.0
        maps.append(float(np.abs(ours.anomaly_map - theirs.anomaly_map).max()) / scale)
        scores.append(abs(ours.score - theirs.score) / scale)
        if max(maps[-1], scores[-1]) > tolerance:
            raise ExportError(
                f"the exported model is off by {max(maps[-1], scores[-1]):.1g} of the highest score on a sample image, "
                f"more than {tolerance:g}; it was not kept: export with the versions in constraints.txt"
            )
        if ours.verdict != theirs.verdict and not _borderline(ours, run.card, tolerance * scale):
            raise ExportError(
                f"the exported model says '{theirs.verdict}' where PyTorch says '{ours.verdict}' (score {ours.score:g})"
                "; it was not kept"
            )
    return {"images": len(maps), "tolerance": tolerance, "anomaly_map": max(maps), "score": max(scores)}


def sample_images(folder: Path | None) -> Iterator[Image]:
    """Images to compare on: up to `SAMPLES` of a folder's, else of the demo set's, at several sizes.

    Raises:
        DataError: a folder without images, or one that cannot be read.
    """
    if folder is None:
        yield from _photographs()
        return
    found = find_images([folder])
    step = max(len(found) / SAMPLES, 1)
    for number in range(min(len(found), SAMPLES)):
        yield read_image(found[int(number * step)])


def _borderline(prediction: Prediction, card: Card | None, band: float) -> bool:
    thresholds = () if card is None else (card.threshold, card.review_threshold)
    return any(limit is not None and abs(prediction.score - limit) <= band for limit in thresholds)


def _photographs() -> Iterator[Image]:
    """Photographs of the demo set, a good and a defective one, at several sizes and both depths."""
    for path in sample_photographs():
        image = read_image(path)
        yield image
        yield np.ascontiguousarray(image[:200])
        yield image[::2, ::3].astype(np.uint16) * 257


def _write_model(model: "ModelProto", folder: Path, to: Runtime) -> None:
    if to == "onnx":
        (folder / MODEL_FILES["onnx"][0]).write_bytes(model.SerializeToString())
        return
    converted = convert(model.SerializeToString())
    import openvino  # only now: where it is missing, `convert` has said so

    openvino.save_model(converted, folder / MODEL_FILES["openvino"][0], compress_to_fp16=False)


def _manifest(run: Run, folder: Path, to: Runtime) -> Manifest:
    return Manifest(
        format=written.FORMAT,
        vtadl=__version__,
        runtime=to,
        precision="float32",
        category=run.source.category,
        preset=run.config.preset,
        image_size=run.config.model.image_size,
        input_size=run.input_size,
        value_range=run.config.data.pair,
        training_images=run.training.get(LOOK, {}),
        weights_sha256=weights_sha256(run.model),
        colour_low=run.held_out.colour_low,
        colour_high=run.held_out.colour_high,
        input="image: uint8 (height, width, 3), RGB, of any size; or (height, width, 6), the little-endian bytes of "
        "16-bit RGB, its value_range, where there is one, stretched to 0..65535",
        output="anomaly_map: float32 (height, width), as the image; the image's score is its maximum",
        resampling="in the model: bilinear between pixel centres, antialiased where it shrinks, in float32",
        files={name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MODEL_FILES[to]},
        agreement={},
    )


def _times(run: Run, exported: ExportedDetector) -> dict[str, Any]:
    image = np.random.default_rng(0).integers(0, 256, (*run.input_size, 3), dtype=np.uint8)
    times = {
        exported.manifest.runtime: _median_ms(lambda: exported.predict(image)),
        "pytorch": _median_ms(lambda: predict_image(run, image, torch.device("cpu"))),
    }
    return {
        "date": now(),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "processor": processor(),
        "milliseconds": times,
    }


def _median_ms(call: Any) -> float:
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return round(1000 * statistics.median(times), 2)
