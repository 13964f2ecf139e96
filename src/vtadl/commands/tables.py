"""Metrics and cards as text, for a terminal of 80 columns."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vtadl.decision.card import Card
from vtadl.decision.card_rows import percent, rate_rows, threshold_rows

if TYPE_CHECKING:
    from vtadl.evaluation import Report

WIDTH = 80


def metric_lines(report: "Report") -> list[str]:
    """The metrics with their intervals, and the protocol in a line."""
    lines = [f"{'metric':<18}{'value':>8}   95 % interval"]
    for name, value in (report.metrics | report.published).items():
        interval = report.evaluation.intervals.get(name)
        shown = f"{value:8.4f}" if value is not None else f"{'-':>8}"
        spread = f"   {interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
        lines.append(f"{name:<18}{shown}{spread}")
    counts = report.protocol["counts"]
    return [
        *lines,
        *_defect_lines(report),
        "",
        f"images      {counts['good']} good, {counts['defective']} defective, {counts['masks']} masks",
        f"protocol    resolution {report.protocol['resolution']}, 8-connected regions, nothing cropped",
        *_map_lines(report.protocol),
    ]


def _map_lines(protocol: Mapping[str, Any]) -> list[str]:
    if not protocol.get("maps_resampled"):
        return []
    return [f"maps        {protocol['maps_resampled']} resampled, {protocol['map_resampling']}"]


def _defect_lines(report: "Report") -> list[str]:
    groups = report.evaluation.breakdown.by_defect
    if not groups:
        return []
    lines = ["", f"{'defect':<22}{'images':>8}{'image AUROC':>13}{'regions':>9}{'AUPRO@0.3':>11}{'missed':>8}"]
    for name, group in groups.items():
        auroc = "-" if group.image_auroc is None else f"{group.image_auroc:.4f}"
        regions, aupro, missed = "-", "-", "-"
        if group.overlap is not None:
            regions, missed = str(group.overlap.regions), str(group.overlap.missed)
            aupro = f"{group.overlap.aupro['0.3']:.4f}"
        lines.append(f"{name[:21]:<22}{group.images:>8}{auroc:>13}{regions:>9}{aupro:>11}{missed:>8}")
    return lines


def card_lines(card: Card) -> list[str]:
    """Thresholds, expected rates with their intervals, and the notes."""
    lines = [f"{verdict:<18}{score}" for verdict, score in threshold_rows(card)]
    lines += ["", f"{'share of images':<34}{'asked':>9}{'expected':>10}   95 % interval"]
    for name, rate in rate_rows(card):
        asked = "-" if rate.asked is None else percent(rate.asked)
        interval = f"{percent(rate.low)} to {percent(rate.high)}"
        lines.append(f"{name:<34}{asked:>9}{percent(rate.expected):>10}   {interval}")
    counts: dict[str, int] = {}
    for one in card.calibration_sets:
        counts[one.kind] = counts.get(one.kind, 0) + len(one.scores)
    lines += ["", *_wrapped("images", ", ".join(f"{count} {kind}" for kind, count in counts.items()))]
    lines += _wrapped("promise", card.promise)
    return [*lines, *(line for note in card.notes for line in _wrapped("", note))]


def _wrapped(name: str, text: str) -> list[str]:
    indent = " " * 12
    return textwrap.wrap(text, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=indent)
