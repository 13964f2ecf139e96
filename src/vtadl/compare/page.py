"""A comparison as an HTML page in one file: tables, charts, and the heat maps of all methods side by side."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from vtadl.compare.cells import Cell
from vtadl.compare.charts import dot_chart, method_key, sweep_chart
from vtadl.compare.findings import Findings, study_rows
from vtadl.compare.outcomes import Outcome
from vtadl.compare.snapshots import PICTURES_FOLDER, Snapshot
from vtadl.compare.sweep import Sweep
from vtadl.compare.tables import Method, Table, method_of
from vtadl.compare.text import (
    ACROSS_HEAD,
    SWEEP_EXPLAINED,
    WITHIN_HEAD,
    Settings,
    across_explained,
    across_reasons,
    across_rows,
    failure_rows,
    settings_text,
    summary,
    within_explained,
    within_rows,
)
from vtadl.decision.heatmap import score_at
from vtadl.errors import BundleError
from vtadl.reports.charts import significant
from vtadl.reports.page import document, paragraph, table
from vtadl.reports.pictures import frame_shape, outline_layer, picture
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
    """The whole page.

    Args:
        findings: of every metric.
        metric: the one that is tested and drawn.
        outcomes: of every cell.
        out: the folder of the comparison.
        settings: what was changed of each preset.
        sweep: whose curve to draw.
    """
    chosen, listed = findings[metric], list(outcomes.values())
    name = metric.replace("_", " ")
    parts = [f"<h1>Comparison: {escape(name)}</h1>", paragraph(f"Made by vtadl {__version__}.", "quiet")]
    parts += [paragraph(summary(chosen.table, listed)), paragraph(settings_text(settings), "quiet small")]
    parts.append(table(name, *study_rows(chosen)))
    parts += [paragraph(f"{column.title}: {column.meaning}", "quiet small") for column in chosen.columns.values()]
    if failures := failure_rows(listed):
        parts.append(table("Failed cells", ["category", "method", "seed", "error"], failures))
    parts += ["<h2>By category</h2>", method_key(chosen.table), dot_chart(chosen.table)]
    if sweep is not None:
        parts += [f"<h2>Sweep of {escape(sweep.name)}</h2>", paragraph(f"One line a category; {SWEEP_EXPLAINED}.")]
        parts.append(sweep_chart(chosen.table, sweep))
    if chosen.across:
        parts += ["<h2>Which differences are real</h2>", paragraph(across_explained())]
        parts.append(table("Over categories", ACROSS_HEAD, across_rows(chosen)))
        parts += [paragraph(reason, "quiet small") for reason in across_reasons(chosen)]
        parts += [paragraph(within_explained())]
        parts.append(table("Over the images of a category", WITHIN_HEAD, within_rows(chosen)))
    parts.append(_pictures(chosen.table, outcomes, out))
    parts.append("<h2>The other metrics</h2>")
    parts += [table(other.replace("_", " "), *study_rows(one)) for other, one in findings.items() if other != metric]
    return document(f"Comparison: {name}", "\n".join(parts))


def _pictures(shown: Table, outcomes: Mapping[Cell, Outcome], out: Path) -> str:
    sections = []
    for category in shown.categories:
        first: Shown = {}
        for cell, outcome in outcomes.items():
            if outcome.category == category and outcome.status == "done":
                first.setdefault(method_of(outcome), (out / cell.place / PICTURES_FOLDER, outcome))
        if first:
            sections.append(f"<h3>{escape(category)}</h3>{_side_by_side(shown, first)}")
    if not sections:
        return ""
    text = (
        "The same images under every method, chosen by their names and not by any score: of each type of defect the "
        "first, and a good one. Each method colours on one scale of its own for all its images, set by held-out "
        "good images where there are any; two columns compare in where they colour, not in how much. Of several seeds, "
        "the first."
    )
    toggle = '<label class="toggle small"><input type="checkbox" checked> show the outlines of the masks</label>'
    return "\n".join(["<h2>Heat maps side by side</h2>", paragraph(text), toggle, *sections])


def _side_by_side(shown: Table, first: Shown) -> str:
    heads = ["photo"]
    for method, (_, outcome) in first.items():
        low, high = outcome.colours
        begins = significant(score_at(0, low, high), high - low)
        heads.append(f"{shown.label(method)}; colour begins at {begins}")
    columns = f"grid-template-columns: repeat({len(heads)}, minmax(7rem, 15rem)); gap: 4px 6px"
    cells = [f'<div class="small quiet">{escape(head)}</div>' for head in heads]
    (folder, reference), *_ = first.values()
    for snapshot in reference.snapshots:
        cells.append(_cell(folder / Path(snapshot.photo).name, "photo", snapshot, f"{snapshot.label}, {snapshot.name}"))
        for method, (place, outcome) in first.items():
            same = [s for s in outcome.snapshots if (s.name, s.label) == (snapshot.name, snapshot.label)]
            span = outcome.colours[1] - outcome.colours[0]
            if same:
                score = f"score {significant(same[0].score, span)}"
                cells.append(
                    _cell(place / Path(same[0].heat).name, f"heat map by {shown.label(method)}", same[0], score)
                )
            else:
                cells.append("<div></div>")
    return f'<div class="scroll"><div style="display: grid; {columns}">{"".join(cells)}</div></div>'


def _cell(path: Path, what: str, snapshot: Snapshot, caption: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read '{path}': {error.strerror}; run the cell again with --force") from error
    layer = outline_layer(*snapshot.outline) if snapshot.outline else ""
    shape = frame_shape(snapshot.width, snapshot.height)
    described = f"{snapshot.label}, {snapshot.name}: {what}"
    return (
        f'<figure style="margin:0;--shape:{shape:.3f}">{picture(content, described, layer)}'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
