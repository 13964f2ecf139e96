"""A comparison as an HTML page in one file: tables, charts, and the heat maps of all methods side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vtadl.compare.cells import Cell
from vtadl.compare.charts import dot_chart, method_key, sweep_chart
from vtadl.compare.findings import Findings, study_rows
from vtadl.compare.outcomes import Outcome
from vtadl.compare.pictures import PICTURES_FOLDER, Snapshot
from vtadl.compare.sweep import Sweep
from vtadl.compare.tables import Method, Table, method_of
from vtadl.compare.text import (
    ACROSS_EXPLAINED,
    ACROSS_HEAD,
    SWEEP_EXPLAINED,
    WITHIN_EXPLAINED,
    WITHIN_HEAD,
    Settings,
    across_reasons,
    across_rows,
    failure_rows,
    settings_text,
    summary,
    within_rows,
)
from vtadl.decision.heatmap import score_at
from vtadl.errors import BundleError
from vtadl.reports.charts import significant
from vtadl.reports.page import TableContent, page
from vtadl.reports.pictures import Picture, frame_shape
from vtadl.version import __version__

Shown = dict[Method, tuple[Path, Outcome]]


def comparison_page(
    findings: Mapping[str, Findings],
    metric: str,
    outcomes: Mapping[Cell, Outcome],
    out: Path,
    settings: Settings,
    sweep: Sweep | None,
) -> str:
    """The whole page of a comparison, with the findings of every metric and one of them tested and drawn."""
    chosen, listed = findings[metric], list(outcomes.values())
    name = metric.replace("_", " ")
    return page(
        "comparison.html",
        f"Comparison: {name}",
        version=__version__,
        summary=summary(chosen.table, listed),
        settings=settings_text(settings),
        metric=_table(name, *study_rows(chosen)),
        columns=[f"{column.title}: {column.meaning}" for column in chosen.columns.values()],
        failures=_table("Failed cells", ("category", "method", "seed", "error"), failure_rows(listed)),
        key=method_key(chosen.table),
        chart=dot_chart(chosen.table),
        sweep=None if sweep is None else _sweep(chosen.table, sweep),
        across=_table("Over categories", ACROSS_HEAD, across_rows(chosen)),
        across_explained=ACROSS_EXPLAINED,
        across_reasons=across_reasons(chosen),
        within=_table("Over the images of a category", WITHIN_HEAD, within_rows(chosen)),
        within_explained=WITHIN_EXPLAINED,
        grids=_grids(chosen.table, outcomes, out),
        others=[_table(o.replace("_", " "), *study_rows(one)) for o, one in findings.items() if o != metric],
    )


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> TableContent:
    return TableContent(caption=caption, head=head, rows=rows)


def _sweep(table: Table, sweep: Sweep) -> dict[str, Any]:
    return {"name": sweep.name, "explained": SWEEP_EXPLAINED, "chart": sweep_chart(table, sweep)}


def _grids(shown: Table, outcomes: Mapping[Cell, Outcome], out: Path) -> list[dict[str, Any]]:
    """For each category with pictures, its photos beside their heat maps under every method."""
    grids = []
    for category in shown.categories:
        first: Shown = {}
        for cell, outcome in outcomes.items():
            if outcome.category == category and outcome.status == "done":
                first.setdefault(method_of(outcome), (out / cell.place / PICTURES_FOLDER, outcome))
        if first:
            grids.append({"category": category, "heads": _heads(shown, first), "cells": _cells(shown, first)})
    return grids


def _heads(shown: Table, first: Shown) -> list[str]:
    heads = ["photo"]
    for method, (_, outcome) in first.items():
        low, high = outcome.colours
        begins = significant(score_at(0, low, high), high - low)
        heads.append(f"{shown.label(method)}; colour begins at {begins}")
    return heads


def _cells(shown: Table, first: Shown) -> list[dict[str, Any] | None]:
    cells: list[dict[str, Any] | None] = []
    (folder, reference), *_ = first.values()
    for snapshot in reference.snapshots:
        cells.append(_cell(folder / Path(snapshot.photo).name, "photo", snapshot, f"{snapshot.label}, {snapshot.name}"))
        for method, (place, outcome) in first.items():
            same = [s for s in outcome.snapshots if (s.name, s.label) == (snapshot.name, snapshot.label)]
            if not same:
                cells.append(None)
                continue
            score = f"score {significant(same[0].score, outcome.colours[1] - outcome.colours[0])}"
            heat = place / Path(same[0].heat).name
            cells.append(_cell(heat, f"heat map by {shown.label(method)}", same[0], score))
    return cells


def _cell(path: Path, what: str, snapshot: Snapshot, caption: str) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read '{path}': {error.strerror}; run the cell again with --force") from error
    described = f"{snapshot.label}, {snapshot.name}: {what}"
    return {
        "shape": frame_shape(snapshot.width, snapshot.height),
        "picture": Picture(content=content, description=described, outline=snapshot.outline),
        "caption": caption,
    }
