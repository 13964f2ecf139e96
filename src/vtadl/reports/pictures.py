"""Photos with their masks and heat maps: which ones to show, and how they stand in a page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vtadl.data.layouts import Sample
from vtadl.data.mask_files import read_mask
from vtadl.data.resizing import resize_map, resize_mask
from vtadl.decision import heatmap
from vtadl.evaluation import Report
from vtadl.inference.predict import ScoredFile, predict_files
from vtadl.reports.charts import outline_path, significant
from vtadl.runs.run import Run

SIDE = 288
"""Longer side in pixels of the pictures in a page."""
JPEG_QUALITY = 80
TINY = 64
"""Images up to this side are shown with their pixels as squares."""
EXTREMES = 6
"""Finds, misses and false alarms, at most."""
ROW = 3
"""Pictures of each type in the spread: as many as stand in a row; twice as many of types that are few."""
FEW_TYPES = 3
SHAPES = (0.6, 2.0)
"""The narrowest and the widest frame that a picture stands in, as width through height."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of a report's images a page shows: indices into ``report.samples``."""

    finds: tuple[int, ...]
    """Defective images, highest score first."""
    misses: tuple[int, ...]
    """Defective images, lowest score first."""
    false_alarms: tuple[int, ...]
    """Good images, highest score first."""
    spread: dict[str, tuple[int, ...]]
    """For each label, good last: evenly by rank of the score, lowest first."""

    @property
    def all(self) -> tuple[int, ...]:
        """Each image once."""
        spread = [index for indices in self.spread.values() for index in indices]
        return tuple(sorted({*self.finds, *self.misses, *self.false_alarms, *spread}))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as it stands in a page."""

    content: bytes
    """A file, from `encoded`."""
    description: str
    outline: tuple[float, float, str] | None
    """From `mask_outline`: a layer that lies over the picture."""

    @property
    def is_tiny(self) -> bool:
        """Whether its pixels are shown as squares."""
        return self.content.startswith(b"\x89PNG")

    @property
    def source(self) -> str:
        """Its content as a URL, so that a page needs no other file."""
        return f"data:image/{'png' if self.is_tiny else 'jpeg'};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A photo beside its heat map, and what is said below them."""

    label: str
    name: str
    score: str
    shape: float
    """Width through height of each picture's frame."""
    photo: Picture
    heat: Picture


def choose(report: Report) -> Choice:
    """Choose by score alone, so that nothing is picked for its looks."""
    order = sorted(range(len(report.samples)), key=lambda index: report.scores[index])
    by_label = by_type(report)
    defects = [label for label, indices in by_label.items() if report.samples[indices[0]].is_defective]
    each = ROW if len(defects) > FEW_TYPES else 2 * ROW
    defective = [index for index in order if report.samples[index].is_defective]
    return Choice(
        finds=tuple(defective[::-1][:EXTREMES]),
        misses=tuple(defective[:EXTREMES]),
        false_alarms=tuple(index for index in reversed(order) if not report.samples[index].is_defective)[:EXTREMES],
        spread={label: _evenly(by_label[label], each if label in defects else 2 * ROW) for label in by_label},
    )


def by_type(report: Report) -> dict[str, list[int]]:
    """Indices of the images of each label, lowest score first; defects by name, then the good ones."""
    labels = sorted({(not sample.is_defective, sample.label) for sample in report.samples})
    order = sorted(range(len(report.samples)), key=lambda index: report.scores[index])
    return {label: [i for i in order if report.samples[i].label == label] for _, label in labels}


def draw_pairs(run: Run, report: Report, names: Sequence[str], choice: Choice, device: torch.device) -> dict[int, Pair]:
    """The photo and the heat map of each chosen image, with the outline of its mask.

    Images are scored once more, so that no anomaly map has to be kept since the evaluation.
    """
    indices = choice.all
    span = max(report.scores) - min(report.scores)
    drawn = {}
    for one in predict_files(run, [report.samples[i].path for i in indices], device, keep_originals=True):
        index = indices[one.index]
        score = significant(report.scores[index], span)
        drawn[index] = _pair(run, report.samples[index], names[index], score, one)
    return drawn


def _evenly(indices: Sequence[int], count: int) -> tuple[int, ...]:
    places = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return tuple(indices[place] for place in places)


def photo_and_heat(run: Run, one: ScoredFile) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The photo, shrunk, and its heat map on the run's own scale."""
    assert one.original is not None
    photo = heatmap.shrunk(one.original, SIDE)
    size = (photo.shape[0], photo.shape[1])
    anomaly_map = resize_map(one.prediction.anomaly_map, size)
    roi_mask = None if run.roi_mask is None else resize_mask(run.roi_mask, size)
    return photo, heatmap.overlay(photo, anomaly_map, run.held_out.colour_low, run.held_out.colour_high, roi_mask)


def encoded(image: NDArray[np.uint8]) -> bytes:
    """A picture as a file: JPEG, or PNG where every pixel counts."""
    file = io.BytesIO()
    if max(image.shape[:2]) <= TINY:
        Image.fromarray(image).save(file, "PNG")
    else:
        Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def mask_outline(mask: NDArray[np.bool_]) -> tuple[float, float, str]:
    """The outline of a mask, as the width and the height of its drawing and a path in it."""
    height, width = mask.shape
    # A cell of several pixels counts as defective if one of them is: a defect of one pixel must not vanish here.
    cell = -(-max(height, width) // SIDE)
    padded = np.pad(mask, ((0, -height % cell), (0, -width % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell)
    path = outline_path(np.any(cells, axis=(1, 3)))
    return width / cell, height / cell, path


def frame_shape(width: int, height: int) -> float:
    """Width through height of the frame that a picture of this size stands in."""
    return min(max(width / height, SHAPES[0]), SHAPES[1])


def _pair(run: Run, sample: Sample, name: str, score: str, one: ScoredFile) -> Pair:
    photo, heat = photo_and_heat(run, one)
    outlined = None
    if sample.mask is not None:
        outlined = mask_outline(read_mask(sample.mask, one.prediction.anomaly_map.shape[:2], sample.path))
    marked = " with the mask's outline" if outlined else ""
    what = f"{sample.label}, {sample.path.name}{marked}"
    return Pair(
        label=sample.label,
        name=name,
        score=score,
        shape=frame_shape(photo.shape[1], photo.shape[0]),
        photo=Picture(content=encoded(photo), description=f"Photo: {what}", outline=outlined),
        heat=Picture(content=encoded(heat), description=f"Heat map: {what}", outline=outlined),
    )
