"""Every metric of a detector, or of saved anomaly maps, on the test images of a category."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.data.anomaly_maps import (
    MapSummary,
    find_maps,
    map_warnings,
    missing_warnings,
    negated_hint,
    place_map,
    read_map,
    summarize_map,
)
from vtadl.data.image_scores import check_complete, read_scores
from vtadl.data.images import image_size, is_turned
from vtadl.data.layouts import Category, Sample
from vtadl.data.loco_regions import config_of, read_regions
from vtadl.data.mask_files import CONFIG_FILE, read_mask_values
from vtadl.data.masks import MaskSummary, mask_warnings, summarize_mask
from vtadl.data.resizing import resize_map, resize_mask
from vtadl.errors import ConfigError, DataError
from vtadl.inference.predict import predict_files, warn_of_unlike
from vtadl.metrics import AnnotatedRegion, Evaluation, ScoredImage, evaluate, published
from vtadl.metrics.images import has_pixels
from vtadl.metrics.regions import CONNECTIVITY, label_regions
from vtadl.progress import Progress, silent
from vtadl.runs.run import Run

HIGHEST = "the highest value of its map"


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
    published: dict[str, float | None] = field(default_factory=dict)
    """What a published protocol that was asked for measures, under names of its own."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """The eight metrics by name; ``None`` where one cannot be computed."""
        return self.evaluation.metrics

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` writes: the metrics by name, then how they were made and which defects are missed."""
        found = self.evaluation
        return {
            **self.metrics,
            **self.published,
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
    protocol: str | None = None,
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
        protocol: ``vtadl-2021`` measures also what that paper's code calls PRO (`vtadl.metrics.published`).
        skip: samples not to use, because they cannot be read.
        seed: of the bootstrap behind the intervals.
        progress: shows how far it is.

    Raises:
        DataError: no test images, or a file that cannot be used.
        ConfigError: a resolution or a protocol that cannot be.
    """
    test = _test_set(category, skip, resolution, protocol)
    has_masks = any(sample.mask is not None for sample in test.samples)
    told: set[str] = set()
    with progress("scoring", len(test.samples)) as advance:
        paths = [sample.path for sample in test.samples]
        for scored in predict_files(run, paths, device, keep_originals=True):
            warn_of_unlike(run, category.relative(scored.path), scored.original, told, test.warnings.append)
            prediction = scored.prediction
            test.add(test.samples[scored.index], prediction.score, prediction.anomaly_map, keep_map=has_masks)
            advance(1)
    report = test.report(seed, run.card.pixel_threshold if run.card is not None else None)
    return report if protocol is None else _with_published(report, test.images)


def evaluate_maps(
    folder: Path,
    category: Category,
    *,
    resolution: int | None = None,
    geometry: str = "whole",
    scores: Path | None = None,
    skip: frozenset[Sample] = frozenset(),
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Compute every metric of anomaly maps that any tool saved.

    Args:
        folder: mirrors the category, see `find_maps`.
        category: whose test images and masks.
        resolution: as in `evaluate_run`; maps of another size than their image are resampled to it first.
        geometry: how maps lie on their images, one of `vtadl.data.anomaly_maps.GEOMETRIES`.
        scores: file of image scores (`vtadl.data.image_scores`); ``None``: the highest value of each map.
        skip: samples not to use, because they cannot be read.
        seed: of the bootstrap behind the intervals.
        progress: shows how far it is.

    Raises:
        DataError: no maps, or one that cannot be used, or scores that are not those of the images; the message names
            the file.
        ConfigError: a resolution that cannot be.
    """
    test = _test_set(category, skip, resolution)
    names = [category.relative(sample.path) for sample in test.samples]
    found = find_maps(folder, names)
    test.warnings += missing_warnings(folder, names, found)
    test.samples = tuple(sample for sample, name in zip(test.samples, names, strict=True) if name in found)
    own = {} if scores is None else _own_scores(scores, category, list(found))
    summaries: list[MapSummary] = []
    resampled = 0
    with progress("reading", len(test.samples)) as advance:
        for sample, (name, path) in zip(test.samples, found.items(), strict=True):
            stored, size = read_map(path), image_size(sample.path)
            summaries.append(summarize_map(name, stored))
            resampled += stored.shape != size
            test.add(sample, own.get(name, float(stored.max())), place_map(stored, size, path, geometry))
            advance(1)
    report = test.report(seed, None, map_warnings(summaries))
    best_known = report.metrics["pixel_AUROC"] if test.masks else report.metrics["image_AUROC"]
    report.protocol["image_score"] = HIGHEST if scores is None else f"as '{scores}' gives it"
    report.protocol["maps_resampled"] = resampled
    report.protocol["map_geometry"] = geometry
    report.protocol["map_resampling"] = "bilinear, antialiased where it shrinks" if resampled else "none"
    return replace(report, warnings=(*report.warnings, *negated_hint(best_known)))


def _own_scores(file: Path, category: Category, images: list[str]) -> dict[str, float]:
    scores = read_scores(file, {category.relative(sample.path): sample.path for sample in category.test})
    check_complete(file, scores, images)
    return scores


def _with_published(report: Report, images: Sequence[ScoredImage]) -> Report:
    value = None
    if has_pixels(images):
        pairs = [(i.anomaly_map, i.mask) for i in images if i.anomaly_map is not None]
        value = published.published_pro([one for one, _ in pairs], [mask for _, mask in pairs])
    return replace(report, published={published.METRIC: value}, warnings=(*report.warnings, published.WARNING))


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
        mask, regions = self._truth(sample, anomaly_map.shape)
        image = ScoredImage(
            name=self.category.relative(sample.path),
            defect=sample.label,
            score=score,
            anomaly_map=anomaly_map if keep_map else None,
            mask=mask,
            regions=regions,
        )
        self.images.append(
            image if self.resolution is None else _resampled(image, self.resolution, sample, self.warnings)
        )

    def report(self, seed: int, pixel_threshold: float | None, warnings: Sequence[str] = ()) -> Report:
        """The metrics of the images."""
        scored_seconds = time.perf_counter() - self.started
        evaluation = evaluate(self.images, seed=seed, pixel_threshold=pixel_threshold)
        return Report(
            evaluation=evaluation,
            protocol=_protocol(self.images, self.samples, self.category, self.resolution),
            timing={
                "scoring_seconds": round(scored_seconds, 3),
                "milliseconds_per_image": round(1000 * scored_seconds / len(self.samples), 2),
                "metrics_seconds": round(time.perf_counter() - self.started - scored_seconds, 3),
            },
            samples=self.samples,
            scores=tuple(image.score for image in self.images),
            warnings=(*self.warnings, *mask_warnings(self.masks), *warnings),
        )

    def _truth(
        self, sample: Sample, size: tuple[int, ...]
    ) -> tuple[NDArray[np.bool_] | None, tuple[AnnotatedRegion, ...] | None]:
        """The mask of a sample, and its regions where the set says how much of each is enough."""
        if sample.mask is None:
            return None, None
        values = read_mask_values(sample.mask, (size[0], size[1]), sample.path)
        self.masks.append(summarize_mask(sample.mask, values, turned=is_turned(sample.path)))
        mask: NDArray[np.bool_] = values != 0
        config = config_of(sample.mask)
        return mask, None if config is None else read_regions(sample.mask, config)


def _test_set(
    category: Category, skip: frozenset[Sample], resolution: int | None, protocol: str | None = None
) -> _TestSet:
    if protocol not in (None, published.PROTOCOL):
        raise ConfigError(f"unknown protocol '{protocol}'; the only one beside this project's is {published.PROTOCOL}")
    if protocol is not None and resolution is not None:
        raise ConfigError(f"the protocol {protocol} has a resolution of its own; leave out --resolution {resolution}")
    if resolution is not None and resolution < 1:
        raise ConfigError(f"--resolution is {resolution}; expected native or a number of pixels, at least 1")
    samples = tuple(sample for sample in category.test if sample not in skip)
    if not samples:
        raise DataError(f"'{category.root}' has no test images; expected some beside its training images")
    return _TestSet(category=category, resolution=resolution, samples=samples)


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
