"""Every metric of a detector, or of saved anomaly maps, on the test images of a category."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.data.images import image_size, orientation_of, read_mask_values, resize_map, resize_mask
from vtadl.data.layouts import Category, Sample
from vtadl.data.maps import (
    MapSummary,
    find_maps,
    map_warnings,
    missing_warnings,
    negated_hint,
    place_map,
    read_map,
    summarize_map,
)
from vtadl.data.masks import MaskSummary, mask_warnings, summarize_mask
from vtadl.errors import ConfigError, DataError
from vtadl.inference.predict import predict_files
from vtadl.metrics import Evaluation, ScoredImage, evaluate
from vtadl.metrics.regions import CONNECTIVITY, label_regions
from vtadl.progress import Progress, silent
from vtadl.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Report:
    """The metrics of one detector on one test set, and how they were made."""

    evaluation: Evaluation
    protocol: dict[str, Any]
    timing: dict[str, float]
    samples: tuple[Sample, ...]
    scores: tuple[float, ...]
    """Image score of each sample."""
    warnings: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float | None]:
        """The eight metrics by name; ``None`` where one cannot be computed."""
        return self.evaluation.metrics

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` writes: the metrics by name, then how they were made and which defects are missed."""
        found = self.evaluation
        return {
            **self.metrics,
            "intervals": {name: list(i) if i else None for name, i in found.intervals.items()},
            "protocol": self.protocol,
            "timing": self.timing,
            "warnings": list(self.warnings),
            "aupimo": found.breakdown.aupimo,
            "by_defect": {name: asdict(group) for name, group in found.breakdown.by_defect.items()},
            "by_size": {name: asdict(overlap) for name, overlap in found.breakdown.by_size.items()},
            "by_image": {name: asdict(group) for name, group in found.breakdown.by_image.items()},
        }


def evaluate_run(
    run: Run,
    category: Category,
    device: torch.device,
    *,
    resolution: int | None = None,
    skip: frozenset[Sample] = frozenset(),
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Score the category's test images and compute every metric.

    Args:
        run: the detector.
        category: whose test images.
        device: where the model runs.
        resolution: length in pixels of the shorter side that maps and masks are compared at; ``None``: the masks' own.
        skip: samples not to use, because they cannot be read.
        seed: of the bootstrap behind the intervals.
        progress: shows how far it is.

    Raises:
        DataError: no test images, or a file that cannot be used.
        ConfigError: a resolution that cannot be.
    """
    test = _test_set(category, skip, resolution)
    has_masks = any(sample.mask is not None for sample in test.samples)
    with progress("scoring", len(test.samples)) as advance:
        for scored in predict_files(run, [sample.path for sample in test.samples], device):
            prediction = scored.prediction
            test.add(test.samples[scored.index], prediction.score, prediction.anomaly_map, keep_map=has_masks)
            advance(1)
    return test.report(seed, run.card.pixel_threshold if run.card is not None else None)


def evaluate_maps(
    folder: Path,
    category: Category,
    *,
    resolution: int | None = None,
    geometry: str = "whole",
    skip: frozenset[Sample] = frozenset(),
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Compute every metric of anomaly maps that any tool saved; an image's score is the highest value of its map.

    Args:
        folder: mirrors the category, see `find_maps`.
        category: whose test images and masks.
        resolution: as in `evaluate_run`; maps of another size than their image are resampled to it first.
        geometry: how maps lie on their images, one of `vtadl.data.maps.GEOMETRIES`.
        skip: samples not to use, because they cannot be read.
        seed: of the bootstrap behind the intervals.
        progress: shows how far it is.

    Raises:
        DataError: no maps, or one that cannot be used; the message names the file.
        ConfigError: a resolution that cannot be.
    """
    test = _test_set(category, skip, resolution)
    names = [category.relative(sample.path) for sample in test.samples]
    found = find_maps(folder, names)
    test.warnings += missing_warnings(folder, names, found)
    test.samples = tuple(sample for sample, name in zip(test.samples, names, strict=True) if name in found)
    summaries: list[MapSummary] = []
    resampled = 0
    with progress("reading", len(test.samples)) as advance:
        for sample, (name, path) in zip(test.samples, found.items(), strict=True):
            stored, size = read_map(path), image_size(sample.path)
            summaries.append(summarize_map(name, stored))
            resampled += stored.shape != size
            test.add(sample, float(stored.max()), place_map(stored, size, path, geometry))
            advance(1)
    report = test.report(seed, None, map_warnings(summaries))
    best_known = report.metrics["pixel_AUROC"] if test.masks else report.metrics["image_AUROC"]
    report.protocol["maps_resampled"] = resampled
    report.protocol["map_geometry"] = geometry
    report.protocol["map_resampling"] = "bilinear, antialiased where it shrinks" if resampled else "none"
    return replace(report, warnings=(*report.warnings, *negated_hint(best_known)))


@dataclass(kw_only=True)
class _TestSet:
    """Test images as they are scored, and what is found on the way."""

    category: Category
    resolution: int | None
    samples: tuple[Sample, ...]
    started: float = field(default_factory=time.perf_counter)
    images: list[ScoredImage] = field(default_factory=list)
    masks: list[MaskSummary] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, sample: Sample, score: float, anomaly_map: NDArray[np.floating], *, keep_map: bool = True) -> None:
        """Add an image, with its mask, at the resolution that is asked for."""
        mask = self._mask(sample, anomaly_map.shape)
        if self.resolution is not None:
            mask, anomaly_map = _resampled(mask, anomaly_map, self.resolution, sample, self.warnings)
        self.images.append(
            ScoredImage(
                name=self.category.relative(sample.path),
                defect=sample.label,
                score=score,
                anomaly_map=anomaly_map if keep_map else None,
                mask=mask,
            )
        )

    def report(self, seed: int, pixel_threshold: float | None, warnings: Sequence[str] = ()) -> Report:
        """The metrics of the images."""
        scored_seconds = time.perf_counter() - self.started
        evaluation = evaluate(self.images, seed=seed, pixel_threshold=pixel_threshold)
        return Report(
            evaluation=evaluation,
            protocol=_protocol(self.samples, self.category, self.resolution),
            timing={
                "scoring_seconds": round(scored_seconds, 3),
                "milliseconds_per_image": round(1000 * scored_seconds / len(self.samples), 2),
                "metrics_seconds": round(time.perf_counter() - self.started - scored_seconds, 3),
            },
            samples=self.samples,
            scores=tuple(image.score for image in self.images),
            warnings=(*self.warnings, *mask_warnings(self.masks), *warnings),
        )

    def _mask(self, sample: Sample, size: tuple[int, ...]) -> NDArray[np.bool_] | None:
        if sample.mask is None:
            return None
        values = read_mask_values(sample.mask, (size[0], size[1]))
        self.masks.append(summarize_mask(sample.mask, values, turned=orientation_of(sample.path) != 1))
        mask: NDArray[np.bool_] = values != 0
        return mask


def _test_set(category: Category, skip: frozenset[Sample], resolution: int | None) -> _TestSet:
    if resolution is not None and resolution < 1:
        raise ConfigError(f"--resolution is {resolution}; expected native or a number of pixels, at least 1")
    samples = tuple(sample for sample in category.test if sample not in skip)
    if not samples:
        raise DataError(f"'{category.root}' has no test images; expected some beside its training images")
    return _TestSet(category=category, resolution=resolution, samples=samples)


def _resampled(
    mask: NDArray[np.bool_] | None,
    anomaly_map: NDArray[np.floating],
    resolution: int,
    sample: Sample,
    warnings: list[str],
) -> tuple[NDArray[np.bool_] | None, NDArray[np.floating]]:
    height, width = anomaly_map.shape
    scale = resolution / min(height, width)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    resized_map = resize_map(anomaly_map, size)
    if mask is None:
        return None, resized_map
    resized = resize_mask(mask, size)
    before, after = (len(np.unique(label_regions(m)[1])) for m in (mask, resized))
    if after < before:
        warnings.append(
            f"{before - after} of {before} regions of '{sample.mask}' vanish or merge at {resolution} pixels"
        )
    return resized, resized_map


def _protocol(samples: Sequence[Sample], category: Category, resolution: int | None) -> dict[str, Any]:
    return {
        "resolution": "native" if resolution is None else resolution,
        "connectivity": CONNECTIVITY,
        "mask_resampling": "none" if resolution is None else "nearest",
        "aupro_limits": [0.3, 0.05],
        "counts": {
            "good": sum(not sample.is_defective for sample in samples),
            "defective": sum(sample.is_defective for sample in samples),
            "masks": sum(sample.mask is not None for sample in samples),
            "skipped": len(category.test) - len(samples),
        },
    }
