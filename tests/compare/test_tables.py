"""The study's table: means, spreads, and what is left out of them."""

import numpy as np
import pytest

from vtadl.compare.findings import entry_text, find, study_rows
from vtadl.compare.latex import latex
from vtadl.compare.outcomes import Outcome
from vtadl.compare.tables import Method, tabulate

METRIC = "pixel_AUPRO@0.3"
A, B = Method(preset="paper", objective="mse + vae"), Method(preset="gaussian", objective=None)


def outcome(category, method, seed, value, status="done"):
    return Outcome(
        category=category,
        preset=method.preset,
        objective=method.objective,
        seed=seed,
        status=status,
        metrics={METRIC: value} if status == "done" else {},
        error=None if status == "done" else "it broke",
    )


def grid(values):
    """``(categories, methods, seeds)`` values; NaN is a failed cell."""
    return [
        outcome(f"c{c}", method, s, float(v), "failed" if np.isnan(v) else "done")
        for c, of_category in enumerate(values)
        for method, of_method in zip((A, B), of_category, strict=True)
        for s, v in enumerate(of_method)
    ]


def test_means_and_spreads_are_those_of_numpy():
    values = np.random.default_rng(0).random((4, 2, 3))
    table = tabulate(grid(values), METRIC)
    for c in range(4):
        for m, method in enumerate((A, B)):
            entry = table.entries[f"c{c}", method]
            assert entry.mean == pytest.approx(values[c, m].mean())
            assert entry.spread == pytest.approx(values[c, m].std(ddof=1))
    for m, method in enumerate((A, B)):
        assert table.means[method].mean == pytest.approx(values[:, m].mean())
        assert table.means[method].spread == pytest.approx(values[:, m].mean(axis=0).std(ddof=1))


def test_a_category_with_a_failed_cell_is_in_no_mean():
    values = np.random.default_rng(1).random((3, 2, 2))
    values[1, 0, 1] = np.nan
    table = tabulate(grid(values), METRIC)
    assert table.shared == ("c0", "c2")
    for m, method in enumerate((A, B)):
        assert table.means[method].mean == pytest.approx(values[[0, 2], m].mean())
    entry = table.entries["c1", A]
    assert not entry.complete
    assert entry_text(entry) == f"{values[1, 0, 0]:.3f} (1 of 2 seeds)"


def test_a_method_that_failed_everywhere_takes_no_mean_from_the_others():
    values = np.random.default_rng(2).random((3, 2, 1))
    values[:, 0] = np.nan
    table = tabulate(grid(values), METRIC)
    assert table.means[B].mean == pytest.approx(values[:, 1].mean())
    assert table.means[A].mean is None
    head, rows = study_rows(find(grid(values), METRIC, lambda o: {METRIC: np.zeros(5)}, {}))
    assert head == ["category", "mse + vae", "gaussian"]
    assert rows[0][1] == "failed or not done"
    assert rows[-1][:2] == ["mean", "–"]


def test_a_table_for_a_paper_has_the_best_in_bold_and_ties_are_ties():
    values = np.array([[[0.9, 0.8], [0.7, 0.7]], [[0.5004, 0.5004], [0.5001, 0.5001]], [[0.1, np.nan], [0.6, 0.6]]])
    shown = latex({METRIC: find(grid(values), METRIC, lambda o: {METRIC: np.zeros(5)}, {})}, METRIC)
    rows = [line.strip() for line in shown.splitlines() if " & " in line]
    assert rows[0] == r"category & mse + vae & gaussian \\"
    assert rows[1].startswith(r"c0 & \textbf{0.850 $\pm$ 0.071} & 0.700")
    assert rows[2].count("textbf") == 2  # both print as 0.500
    assert rows[3].count("textbf") == 0  # one of them lacks a seed
    assert r"pixel\_AUPRO@0.3" in shown and shown.count("{") == shown.count("}")


def test_a_metric_that_cannot_be_computed_is_a_dash_and_no_failure():
    table = tabulate([outcome("bottle", A, 0, None), outcome("cloth", A, 0, 0.5)], METRIC)
    assert entry_text(table.entries["bottle", A]) == "–"
    assert table.shared == ("cloth",)
    assert table.means[A].mean == 0.5


def test_methods_are_named_as_briefly_as_they_can_be():
    c = Method(preset="context", objective="mse + vae")
    outcomes = [outcome("cloth", method, 0, 0.5) for method in (A, B)]
    assert tabulate(outcomes, METRIC).label(A) == "mse + vae"
    assert tabulate([*outcomes, outcome("cloth", c, 0, 0.5)], METRIC).label(A) == "paper: mse + vae"
