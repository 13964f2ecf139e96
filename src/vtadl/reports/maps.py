"""Anomaly maps of one tool or several on a page: metrics, paired differences and curves, in one HTML file."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from markupsafe import Markup

from vtadl.errors import DataError
from vtadl.evaluation import Report
from vtadl.metrics.comparison import Comparison, compare_evaluations
from vtadl.reports.charts import Line, curve_chart
from vtadl.reports.evaluation import NONE, protocol_text
from vtadl.reports.page import TableContent, page
from vtadl.version import __version__

CURVES = {
    "image_ROC": ("ROC of images", "image_AUROC"),
    "pixel_ROC": ("ROC of pixels", "pixel_AUROC"),
    "pixel_PRO": ("Per-region overlap (PRO), up to 0.3", "pixel_AUPRO@0.3"),
    "image_PR": ("Precision and recall of images", "image_AP"),
    "pixel_PR": ("Precision and recall of pixels", "pixel_AP"),
}
"""Titles, and the metric that each line's label shows."""

Pair = tuple[str, str]


def paired(reports: Mapping[str, Report]) -> dict[Pair, dict[str, Comparison | None]]:
    """Every pair of tools, metric by metric, from the same resampled images.

    Raises:
        DataError: two of them do not score the same images.
    """
    found: dict[Pair, dict[str, Comparison | None]] = {}
    for first, second in combinations(reports, 2):
        one, other = reports[first], reports[second]
        if one.samples != other.samples:
            unlike = sorted({str(sample.path) for sample in {*one.samples} ^ {*other.samples}})
            raise DataError(
                f"'{first}' and '{second}' have maps of different images, '{unlike[0]}' for one; compare like with like"
            )
        is_good = np.array([not sample.is_defective for sample in one.samples], dtype=bool)
        found[first, second] = compare_evaluations(one.evaluation, other.evaluation, is_good)
    return found


def difference_rows(pairs: Mapping[Pair, Mapping[str, Comparison | None]]) -> list[list[str]]:
    """A row for each pair and metric: difference, interval, p."""
    rows = []
    for (first, second), metrics in pairs.items():
        for name, found in metrics.items():
            row = [f"{first} - {second}", name.replace("_", " ")]
            if found is None:
                rows.append([*row, NONE, NONE, NONE])
            else:
                low, high = found.interval
                rows.append([*row, f"{found.difference:+.4f}", f"{low:+.4f} to {high:+.4f}", f"{found.p:.2g}"])
    return rows


def maps_page(reports: Mapping[str, Report], title: str) -> str:
    """The page as text, of reports by a name for each tool.

    Raises:
        DataError: two of them do not score the same images.
    """
    first = next(iter(reports.values()))
    return page(
        "maps.html",
        title,
        version=__version__,
        protocol=f"{protocol_text(first)} {_scored(reports)}",
        warnings=[f"{name}: {line}" for name, report in reports.items() for line in report.warnings],
        metrics=TableContent(
            caption="Metrics, each with its 95 % interval",
            head=["metric", *reports],
            rows=[
                [name.replace("_", " "), *(_value(report, name) for report in reports.values())]
                for name in first.metrics
            ],
        ),
        differences=TableContent(
            caption="Paired differences on the same resampled images",
            head=["maps", "metric", "difference", "95 % interval", "p"],
            rows=difference_rows(paired(reports)),
        ),
        curves=[chart for kind in CURVES for chart in _chart(kind, reports)],
    )


def _scored(reports: Mapping[str, Report]) -> str:
    ways = {name: report.protocol["image_score"] for name, report in reports.items()}
    if len(set(ways.values())) == 1:
        return f"An image's score: {next(iter(ways.values()))}."
    return f"An image's score: {'; '.join(f'of {name}, {way}' for name, way in ways.items())}."


def _value(report: Report, name: str) -> str:
    value, interval = report.metrics[name], report.evaluation.intervals.get(name)
    if value is None:
        return NONE
    return f"{value:.4f}" if interval is None else f"{value:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


def _chart(kind: str, reports: Mapping[str, Report]) -> list[tuple[str, Markup]]:
    title, metric = CURVES[kind]
    lines = [
        Line(label=f"{name} {report.metrics[metric]:.4f}", x=curve.x, y=curve.y)
        for name, report in reports.items()
        if (curve := report.evaluation.curves.get(kind)) is not None
    ]
    return [(title, curve_chart(kind.rpartition("_")[2], lines, title))] if lines else []
