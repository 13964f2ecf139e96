"""A detector whose backbone computes in eight bits: quantised, and everything after it fitted and calibrated again.

Rounding moves every embedding. A density fitted to embeddings in float32 would take that for a defect, so it is fitted
to those in eight bits, and colours and thresholds come from what the good images score then.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vtadl.backbones.build import EfficientNetBackbone
from vtadl.calibration.calibrate import Request, calibrate
from vtadl.calibration.images import gather, images_of
from vtadl.data.layouts import Category, Sample
from vtadl.data.loading import evenly_spread, load_images
from vtadl.data.roi import blanked
from vtadl.decision.card import Card
from vtadl.errors import ConfigError, DataError
from vtadl.export.onnx_graph import build_backbone_graph
from vtadl.export.openvino import convert
from vtadl.export.openvino_int8 import Ranges, input_ranges, quantise
from vtadl.inference.held_out import score_held_out
from vtadl.models.build import build_model
from vtadl.models.detector import GaussianDetector, MemoryDetector
from vtadl.progress import Progress, silent
from vtadl.runs.run import HeldOut, Run
from vtadl.runtime.backends import OPENVINO_SETTINGS
from vtadl.training.train import FIT_BATCH, sorted_by_content

CPU = torch.device("cpu")
RANGED = 32
"""Training images that set the ranges, spread evenly over all."""
EXACT = 3
"""The first convolutions, which stay in float32. The first block's channels are of very different sizes: rounding them
moves the features as much as rounding all that follow, and saves a tenth of the backbone's time."""


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What `quantise_run` makes."""

    run: Run
    """The detector; its backbone works in eight bits, in OpenVINO."""
    ranges: Ranges
    """With which `vtadl.export.export.export_run` writes the same backbone."""
    held_out: tuple[Path, ...]
    """The good images that its colours and thresholds come from."""


class Int8Backbone(nn.Module):
    """A backbone in eight bits, run by OpenVINO. What torch exports of it is the backbone that it was made from."""

    def __init__(
        self, backbone: EfficientNetBackbone, run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> None:
        super().__init__()
        self.original = backbone
        self.width, self.stride = backbone.width, backbone.stride
        self._run = run

    def forward(self, images_B3HW: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            original_BDHW: Tensor = self.original(images_B3HW)
            return original_BDHW
        found = [self._run(image_3HW[None].cpu().numpy()) for image_3HW in images_B3HW]
        return torch.from_numpy(np.concatenate(found)).to(images_B3HW.device)


def quantise_run(
    run: Run,
    category: Category,
    *,
    skip: frozenset[Sample] = frozenset(),
    progress: Progress = silent,
) -> Quantized:
    """Quantise a detector's backbone, fit its density to the new embeddings, and calibrate again at the same rates.

    Args:
        run: the detector; it stays as it is.
        category: the one that it was trained on. Its training images set the ranges and fit the density; the held-out
            ones calibrate.
        skip: samples that were left out of the training.
        progress: shows how far it is.

    Raises:
        ConfigError: a detector of another kind, or thresholds that do not follow from rates.
        DataError: the category holds other images, or too few are held out.
        DependencyError: a package for exporting is not installed.
    """
    backbone, request = _backbone(run), _request(run.card)
    kept, held_out = images_of(run, category, skip, "--int8")
    if not held_out:
        raise DataError(f"so few images were trained on that none is held out; --int8 needs some of '{category.root}'")
    paths = sorted_by_content(kept)
    sampled = evenly_spread(paths, RANGED)
    images = (batch.images for batch in load_images(sampled, run.input_size, batch_size=1))
    session, ranges = _quantised(backbone, run.input_size, (blanked(one, run.roi_mask).numpy() for one in images))
    model = build_model(run.config)
    assert isinstance(model, GaussianDetector | MemoryDetector)
    model.register_module("backbone", Int8Backbone(backbone, session))
    model.fit(_fit_batches(run, kept, progress), len(kept), run.config.seed)
    made = replace(run, model=model.eval(), held_out=HeldOut(), card=None)
    made.held_out = score_held_out(made, sorted_by_content(held_out), CPU, progress)
    if run.card is not None and request is not None:
        made.card = _calibrated(made, request, run)
    return Quantized(run=made, ranges=ranges, held_out=tuple(sorted_by_content(held_out)))


def _backbone(run: Run) -> EfficientNetBackbone:
    backbone = run.model.backbone if isinstance(run.model, GaussianDetector | MemoryDetector) else None
    if not isinstance(backbone, EfficientNetBackbone):
        raise ConfigError(
            f"--int8 quantises the backbone efficientnet-lite0 under a density that is fitted (presets gaussian and "
            f"memory); this run is of preset '{run.config.preset}': export it without --int8"
        )
    return backbone.cpu()


def _request(card: Card | None) -> Request | None:
    """The rates that a card was asked for."""
    if card is None:
        return None
    asked = None if card.false_rejects is None else card.false_rejects.asked
    review = None if card.reviews is None else card.reviews.asked
    if asked is None or (card.review_threshold is not None and review is None):
        raise ConfigError(
            "in eight bits scores differ, so --int8 sets thresholds again, by rates; this run's follow from something "
            "else: first give vtadl calibrate with --false-reject-rate (and --review-rate)"
        )
    same = card.outlined == (card.reviews or card.false_rejects)
    outline = None if same or card.outlined is None else card.outlined.asked
    return Request(false_reject_rate=asked, review_rate=review, outline_rate=outline)


def _quantised(
    backbone: EfficientNetBackbone, size: tuple[int, int], images: Iterable[NDArray[np.float32]]
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], Ranges]:
    """The backbone in eight bits, and its ranges on these images, ``(1, 3, H, W)`` each."""
    graph = build_backbone_graph(backbone, size).SerializeToString()
    model = convert(graph)
    import openvino  # only now: where it is missing, `convert` has said so

    found = input_ranges(model, images)
    ranges = dict(list(found.items())[EXACT:])
    quantise(model, ranges)
    compiled = openvino.Core().compile_model(model, "CPU", OPENVINO_SETTINGS)
    return lambda image_13HW: np.array(compiled([image_13HW])[0], np.float32), ranges


def _fit_batches(run: Run, samples: Sequence[Sample], progress: Progress) -> Iterator[Tensor]:
    with progress("fitting in eight bits", len(samples)) as advance:
        for batch in load_images([sample.path for sample in samples], run.input_size, batch_size=FIT_BATCH):
            yield blanked(batch.images, run.roi_mask)
            advance(len(batch.indices))


def _calibrated(made: Run, request: Request, before: Run) -> Card:
    """The card in eight bits, which says so, and how scores differ from those in float32."""
    try:
        card = calibrate(made, gather(made, CPU, warn=_ignore), request)
    except DataError as error:
        raise DataError(f"--int8 calibrates on the held-out images alone, and {error}") from error
    changes = np.abs(np.divide(made.held_out.scores, before.held_out.scores) - 1)
    notes = [
        "In eight bits (OpenVINO): the density was fitted to the rounded features of the training images, and the "
        "thresholds come from the scores that the held-out images have then. These differ from those in float32 by "
        f"{np.median(changes):.1%} (median) and {changes.max():.1%} at most."
    ]
    assert before.card is not None
    others = len(before.card.calibration) - made.source.held_out
    if others > 0:
        notes.append(f"Not counted here: {others} more images that calibrated in float32.")
    return replace(card, notes=(*notes, *card.notes))


def _ignore(line: str) -> None:
    """Say nothing: only the held-out images are gathered."""
