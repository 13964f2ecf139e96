"""The report of an evaluation: heat maps, metrics, curves and scores in one HTML file that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from vtadl.config.overrides import to_toml
from vtadl.data.layouts import Category
from vtadl.decision.heatmap import score_at
from vtadl.evaluation import Report
from vtadl.reports.charts import Histogram, Line, colour_bar, curve_chart, histograms, significant
from vtadl.reports.page import TableContent, page
from vtadl.reports.pictures import Pair, by_type, choose, draw_pairs
from vtadl.runs.files import write_bytes
from vtadl.runs.run import Run
from vtadl.version import __version__

MEANINGS = {
    "image_AUROC": "chance that a defective image scores higher than a good one",
    "image_AP": "mean precision over the defective images",
    "image_F1Max": "best F1 over all thresholds; chosen on these images, so for comparison only",
    "pixel_AUROC": "chance that a defective pixel scores higher than a good one",
    "pixel_AP": "mean precision over the defective pixels",
    "pixel_F1Max": "best F1 over all thresholds; chosen on these pixels, so for comparison only",
    "pixel_AUPRO@0.3": "how much of each defect is covered, up to 30 % false positive pixels",
    "pixel_AUPRO@0.05": "the same, up to 5 %: the strict one",
}
NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A detector, and how it did on a category's test images."""

    run: Run
    category: Category
    report: Report


def write_report(path: Path, one: Evaluated, device: torch.device, *, title: str, note: str = "") -> None:
    """Write the report, in place of one that is there; the images that it shows are scored once more.

    A ``note`` stands at its end, such as whose the images are.

    Raises:
        DataError: an image can no longer be read.
        OSError: the file cannot be written; nothing is left behind.
    """
    html = page(
        "evaluation.html",
        title,
        version=__version__,
        note=note,
        **_content(one, device),
    )
    # A file's name need not be valid text; what cannot be shown becomes a question mark.
    write_bytes(path, html.encode("utf-8", errors="replace"))


def why_missing(report: Report) -> str:
    """The reason for metrics of this report that are ``None``."""
    counts = report.protocol["counts"]
    if not counts["good"]:
        return "no good test images"
    if not counts["defective"]:
        return "no defective test images"
    return "no masks" if not counts["masks"] else "masks of some defective images are missing or empty"


def protocol_text(report: Report) -> str:
    """How the metrics were made, in a sentence or two."""
    counts, protocol = report.protocol["counts"], report.protocol
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    at = "the images' own resolution"
    if protocol["resolution"] != "native":
        at = f"{protocol['resolution']} pixels along the shorter side, masks resampled by nearest neighbour"
    return (
        f"{counts['good']} good and {counts['defective']} defective images, {counts['masks']} masks{skipped}. "
        f"Metrics at {at}; {protocol['connectivity']}-connected regions; a threshold at every distinct score; "
        "nothing cropped, no mask dilated."
    )


def _content(one: Evaluated, device: torch.device) -> dict[str, Any]:
    run, report = one.run, one.report
    source = run.source
    trained = f"Preset {run.config.preset}, trained on {source.trained_on} good images of {source.category}"
    held_out = f"; {source.held_out} more were held out to set the colours." if source.held_out else "; none held out."
    return {
        "trained": f"{trained}{held_out}",
        "warnings": report.warnings,
        "metrics": _metric_table(report),
        "protocol": protocol_text(report),
        "types": _type_table(report),
        "curves": _charts(run, report),
        "scale": _scale_text(run),
        "colour_bar": colour_bar(run.held_out.colour_low, run.held_out.colour_high),
        "has_masks": any(sample.mask is not None for sample in report.samples),
        **_galleries(one, device),
        "settings": to_toml(run.config),
    }


def _metric_table(report: Report) -> TableContent:
    rows, notes = [], []
    for name, value in report.metrics.items():
        interval = report.evaluation.intervals.get(name)
        spread = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else NONE
        rows.append([name.replace("_", " "), _shown(value), spread])
        notes.append(MEANINGS.get(name, "") if value is not None else f"cannot be computed: {why_missing(report)}")
    return TableContent(
        caption="Metrics on the test images", head=["metric", "value", "95 % interval"], rows=rows, notes=notes
    )


def _type_table(report: Report) -> TableContent:
    groups = report.evaluation.breakdown.by_defect
    span = max(report.scores) - min(report.scores)
    rows = []
    for label, indices in by_type(report).items():
        median = float(np.median([report.scores[index] for index in indices]))
        group = groups.get(label) if report.samples[indices[0]].is_defective else None
        overlap = group.overlap if group else None
        rows.append(
            [
                label,
                str(len(indices)),
                significant(median, span),
                _shown(group.image_auroc if group else None),
                str(overlap.regions) if overlap else NONE,
                str(overlap.missed) if overlap else NONE,
                _shown(overlap.aupro["0.3"] if overlap else None),
            ]
        )
    heads = ["type", "images", "median score", "image AUROC", "regions", "missed", "AUPRO@0.3"]
    return TableContent(caption="By type of defect", head=heads, rows=rows)


CURVES = (
    ("ROC", "AUROC", "ROC curves", "ROC, with the area under it"),
    ("PR", "AP", "Precision-recall curves", "Precision and recall, with the average precision"),
    ("PRO", "AUPRO@0.3", "PRO curve", "Per-region overlap (PRO), up to 0.3"),
)
"""Kind of curve, the metric of its label, what it is called and what stands above it."""


def _charts(run: Run, report: Report) -> list[tuple[str, Markup]]:
    charts = []
    for kind, metric, title, heading in CURVES:
        lines = [
            Line(label=f"{name} {_shown(report.metrics[f'{level}_{metric}'])}", x=curve.x, y=curve.y)
            for level, name in (("image", "image"), ("pixel", "AUPRO" if kind == "PRO" else "pixel"))
            if (curve := report.evaluation.curves.get(f"{level}_{kind}")) is not None
        ]
        if lines:
            charts.append((heading, curve_chart(kind, lines, title)))
    return [*charts, ("Image scores; dashed: the threshold of the best F1", _score_chart(run, report))]


def _score_chart(run: Run, report: Report) -> Markup:
    def scores(defective: bool) -> list[float]:
        pairs = zip(report.samples, report.scores, strict=True)
        return [score for sample, score in pairs if sample.is_defective == defective]

    groups = [
        Histogram(label="good, held out of training", values=run.held_out.scores, style="held-out"),
        Histogram(label="good", values=scores(False), style="good"),
        Histogram(label="defective", values=scores(True), style="bad"),
    ]
    return histograms(
        [group for group in groups if group.values],
        title="Histograms of image scores",
        x_label="image score",
        mark=report.evaluation.thresholds["image"],
    )


Gallery = tuple[str, str, list[Pair]]
"""A heading, a line of text, and the pictures that belong to it."""


def _galleries(one: Evaluated, device: torch.device) -> dict[str, list[Gallery]]:
    """What the section opens with, and the spread behind its tables."""
    choice = choose(one.report)
    names = [one.category.relative(sample.path) for sample in one.report.samples]
    drawn = draw_pairs(one.run, one.report, names, choice, device)

    def gallery(heading: str, text: str, indices: Sequence[int]) -> Gallery:
        return heading, text, [drawn[index] for index in indices]

    return {
        "extremes": [
            gallery("Surest finds", "The defective images that score highest.", choice.finds),
            gallery("Worst false alarms", "The good images that score highest.", choice.false_alarms),
            gallery("Worst misses", "The defective images that score lowest.", choice.misses),
        ],
        "spread": [
            gallery(f"A spread: {label}", "Evenly by rank of the score, lowest first.", indices)
            for label, indices in choice.spread.items()
        ],
    }


def _scale_text(run: Run) -> str:
    low, high = run.held_out.colour_low, run.held_out.colour_high
    begins = significant(score_at(0, low, high), high - low)
    whose = "held out of training" if run.held_out.scores else "of the training set (too few to hold any out)"
    return (
        f"One scale for all pictures of this run. Colour begins at a score of {begins}: "
        f"nine of ten good images {whose} stay below it everywhere."
    )


def _shown(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"
