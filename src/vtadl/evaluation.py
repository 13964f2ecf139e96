"""Every metric of a detector, or of saved anomaly maps, on the test images of a category."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtadl.data.images import image_size, orientation_of
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
from vtadl.data.mask_files import CONFIG_FILE, read_mask_values
from vtadl.data.masks import MaskSummary, mask_warnings, summarize_mask
from vtadl.data.resizing import resize_map, resize_mask
from vtadl.data.saturation import config_of, read_regions
from vtadl.errors import ConfigError, DataError
from vtadl.inference.predict import predict_files, warn_of_unlike
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
    samples = _test_samples(category, skip, resolution)
    started = time.perf_counter()
    has_masks = any(sample.mask is not None for sample in samples)
    images: list[ScoredImage] = []
    warnings: list[str] = []
    masks: list[MaskSummary] = []
    told: set[str] = set()
    with progress("scoring", len(samples)) as advance:
        paths = [sample.path for sample in samples]
        for scored in predict_files(run, paths, device, keep_originals=True):
            warn_of_unlike(run, category.relative(scored.path), scored.original, told, warnings.append)
            sample, prediction = samples[scored.index], scored.prediction
            image = ScoredImage(
                name=category.relative(sample.path),
                defect=sample.label,
                score=prediction.score,
                anomaly_map=prediction.anomaly_map if has_masks else None,
                mask=None,
            )
            image = _with_truth(image, sample, prediction.anomaly_map.shape, masks)
            images.append(image if resolution is None else _resampled(image, resolution, sample, warnings))
            advance(1)
    warnings += mask_warnings(masks)
    threshold = run.card.pixel_threshold if run.card is not None else None
    return _report(images, samples, category, resolution, started, warnings, seed=seed, pixel_threshold=threshold)


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
    samples = _test_samples(category, skip, resolution)
    started = time.perf_counter()
    names = [category.relative(sample.path) for sample in samples]
    found = find_maps(folder, names)
    masks: list[MaskSummary] = []
    warnings = missing_warnings(folder, names, found)
    samples = tuple(sample for sample, name in zip(samples, names, strict=True) if name in found)
    images: list[ScoredImage] = []
    summaries: list[MapSummary] = []
    resampled = 0
    with progress("reading", len(samples)) as advance:
        for sample, (name, path) in zip(samples, found.items(), strict=True):
            stored = read_map(path)
            summaries.append(summarize_map(name, stored))
            size = image_size(sample.path)
            resampled += stored.shape != size
            placed = place_map(stored, size, path, geometry)
            image = ScoredImage(
                name=name, defect=sample.label, score=float(stored.max()), anomaly_map=placed, mask=None
            )
            image = _with_truth(image, sample, size, masks)
            images.append(image if resolution is None else _resampled(image, resolution, sample, warnings))
            advance(1)
    warnings += [*mask_warnings(masks), *map_warnings(summaries)]
    report = _report(images, samples, category, resolution, started, warnings, seed=seed)
    best_known = report.metrics["pixel_AUROC"] if masks else report.metrics["image_AUROC"]
    report = replace(report, warnings=(*report.warnings, *negated_hint(best_known)))
    report.protocol["maps_resampled"] = resampled
    report.protocol["map_geometry"] = geometry
    report.protocol["map_resampling"] = "bilinear, antialiased where it shrinks" if resampled else "none"
    return report


def _test_samples(category: Category, skip: frozenset[Sample], resolution: int | None) -> tuple[Sample, ...]:
    if resolution is not None and resolution < 1:
        raise ConfigError(f"--resolution is {resolution}; expected native or a number of pixels, at least 1")
    samples = tuple(sample for sample in category.test if sample not in skip)
    if not samples:
        raise DataError(f"'{category.root}' has no test images; expected some beside its training images")
    return samples


def _report(
    images: Sequence[ScoredImage],
    samples: tuple[Sample, ...],
    category: Category,
    resolution: int | None,
    started: float,
    warnings: Sequence[str],
    *,
    seed: int,
    pixel_threshold: float | None = None,
) -> Report:
    scored_seconds = time.perf_counter() - started
    evaluation = evaluate(images, seed=seed, pixel_threshold=pixel_threshold)
    return Report(
        evaluation=evaluation,
        protocol=_protocol(images, samples, category, resolution),
        timing={
            "scoring_seconds": round(scored_seconds, 3),
            "milliseconds_per_image": round(1000 * scored_seconds / len(samples), 2),
            "metrics_seconds": round(time.perf_counter() - started - scored_seconds, 3),
        },
        samples=samples,
        scores=tuple(image.score for image in images),
        warnings=tuple(warnings),
    )


def _with_truth(image: ScoredImage, sample: Sample, size: tuple[int, ...], masks: list[MaskSummary]) -> ScoredImage:
    """The image with its sample's mask, and with regions where the set says how much of each is enough."""
    if sample.mask is None:
        return image
    values = read_mask_values(sample.mask, (size[0], size[1]), sample.path)
    masks.append(summarize_mask(sample.mask, values, turned=orientation_of(sample.path) != 1))
    config = config_of(sample.mask)
    regions = None if config is None else read_regions(sample.mask, config)
    return replace(image, mask=values != 0, regions=regions)


def _resampled(image: ScoredImage, resolution: int, sample: Sample, warnings: list[str]) -> ScoredImage:
    """The image with its map and truth at another resolution, and a warning where a region vanishes."""
    if image.anomaly_map is None:
        return replace(image, mask=None, regions=None)
    height, width = image.anomaly_map.shape
    scale = resolution / min(height, width)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    resized_map = resize_map(image.anomaly_map, size)
    if image.mask is None:
        return replace(image, anomaly_map=resized_map)
    mask = resize_mask(image.mask, size)
    regions = image.regions and tuple(replace(one, mask=resize_mask(one.mask, size)) for one in image.regions)
    regions = regions and tuple(one for one in regions if one.mask.any())
    if image.regions is None or regions is None:
        before, after = (len(np.unique(label_regions(m)[1])) for m in (image.mask, mask))
    else:
        before, after = len(image.regions), len(regions)
    if after < before:
        warnings.append(
            f"{before - after} of {before} regions of '{sample.mask}' vanish or merge at {resolution} pixels"
        )
    return replace(image, anomaly_map=resized_map, mask=mask, regions=regions)


def _protocol(
    images: Sequence[ScoredImage], samples: Sequence[Sample], category: Category, resolution: int | None
) -> dict[str, Any]:
    annotated = sum(len(image.regions) for image in images if image.regions is not None)
    saturated = f"{annotated} annotated, saturated as their {CONFIG_FILE} says"
    return {
        "resolution": "native" if resolution is None else resolution,
        "connectivity": CONNECTIVITY,
        "regions": saturated if annotated else "connected components",
        "mask_resampling": "none" if resolution is None else "nearest",
        "aupro_limits": [0.3, 0.05],
        "counts": {
            "good": sum(not sample.is_defective for sample in samples),
            "defective": sum(sample.is_defective for sample in samples),
            "masks": sum(sample.mask is not None for sample in samples),
            "skipped": len(category.test) - len(samples),
        },
    }
