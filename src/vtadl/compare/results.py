"""What a comparison writes, again after each cell, from the cells' folders alone."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vtadl.compare.cells import Cell
from vtadl.compare.findings import Findings, find
from vtadl.compare.latex import latex
from vtadl.compare.outcomes import Outcome, read_resampled
from vtadl.compare.page import comparison_page
from vtadl.compare.published import published_value
from vtadl.compare.significance import Draws
from vtadl.compare.sweep import Sweep
from vtadl.compare.tables import Method, method_of
from vtadl.compare.text import cells_csv, entries_csv, markdown, pairs_csv
from vtadl.config.overrides import differences
from vtadl.config.presets import preset_config
from vtadl.metrics.evaluation import LIMITS
from vtadl.runs.files import write_text

METRICS = (
    *(f"{level}_{name}" for level in ("image", "pixel") for name in ("AUROC", "AP", "F1Max")),
    *(f"pixel_AUPRO@{limit:g}" for limit in LIMITS),
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """The cells of a comparison and what came of them so far."""

    out: Path
    cells: tuple[Cell, ...]
    outcomes: Mapping[Cell, Outcome]
    metric: str
    """What the main table shows."""
    sweep: Sweep | None = None

    @property
    def failed(self) -> int:
        """How many cells failed."""
        return sum(outcome.status == "failed" for outcome in self.outcomes.values())

    @property
    def settings(self) -> dict[str, list[str]]:
        """For each preset, the settings in which it differs from the preset as it comes."""
        found = {}
        for preset, config in {cell.preset: cell.config for cell in self.cells}.items():
            own = replace(preset_config(config.preset), seed=config.seed, objective=config.objective)
            if config.objective is None:  # nothing is trained
                own = replace(own, training=config.training)
            found[preset] = differences(own, config)
        return found

    def findings(self) -> dict[str, Findings]:
        """Tables and tests for each metric."""
        outcomes = list(self.outcomes.values())
        places = {(o.category, method_of(o), o.seed): self.out / cell.place for cell, o in self.outcomes.items()}
        read: dict[tuple[str, Method, int], Draws] = {}

        def draws(outcome: Outcome) -> Draws:
            key = (outcome.category, method_of(outcome), outcome.seed)
            if key not in read:
                read[key] = read_resampled(places[key])
            return read[key]

        published = {
            (cell.name, method_of(outcome)): value
            for cell, outcome in self.outcomes.items()
            if (value := published_value(cell.config, cell.category)) is not None
        }
        return {metric: find(outcomes, metric, draws, published) for metric in METRICS}


def write_results(results: Results) -> None:
    """Write ``table.json``, ``.csv``, ``.tex``, ``pairs.csv`` and ``comparison.md``, ``.csv``, ``.json``,
    ``.html``.

    Each appears whole.

    Raises:
        OSError: one cannot be written.
    """
    outcomes = list(results.outcomes.values())
    findings, settings = results.findings(), results.settings
    rows = [table_row(outcome) for outcome in outcomes]
    files = {
        "comparison.json": _json(
            {
                "metric": results.metric,
                "settings": settings,
                "metrics": {metric: _findings(found) for metric, found in findings.items()},
            }
        ),
        "comparison.csv": entries_csv(findings),
        "table.tex": latex(findings, results.metric),
        "comparison.md": markdown(findings, results.metric, outcomes, settings, results.sweep),
        "comparison.html": comparison_page(
            findings, results.metric, results.outcomes, results.out, settings, results.sweep
        ),
        "pairs.csv": pairs_csv(findings),
        "table.csv": cells_csv(outcomes, METRICS),
        "table.json": _json(rows),
    }
    for name, text in files.items():
        write_text(results.out / name, text)


def table_row(outcome: Outcome) -> dict[str, Any]:
    """One object of ``table.json``."""
    return {
        "category": outcome.category,
        "preset": outcome.preset,
        "objective": outcome.objective,
        "seed": outcome.seed,
        "status": outcome.status,
        "figures": {metric: outcome.metrics.get(metric) for metric in METRICS},  # the contract's name
        "error": outcome.error,
    }


def _findings(findings: Findings) -> dict[str, Any]:
    table = findings.table
    return {
        "entries": [
            {
                "category": category,
                **asdict(method),
                **asdict(entry),
                "published": findings.published.get((category, method)),
            }
            for (category, method), entry in table.entries.items()
        ],
        "mean_of": list(table.shared),
        "means": [{**asdict(method), **asdict(entry)} for method, entry in table.means.items()],
        "across_categories": [asdict(pair) for pair in findings.across],
        "within_categories": [asdict(pair) for pair in findings.within],
    }


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
