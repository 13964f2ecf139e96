"""A period's scores and image statistics over time, beside those of calibration: one HTML file."""

from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from vtadl.calibration.drift import Drift, Shift
from vtadl.reports.charts import significant, svg, text, ticks
from vtadl.reports.page import TableContent, page

WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 8, 36
POINTS = 60
"""Medians along the line, at most: of so many consecutive images each that they fit."""
BAND = (0.05, 0.95)


def drift_page(drift: Drift, title: str) -> str:
    """The page as text."""
    return page(
        "drift.html",
        title,
        drift=drift,
        over_time=[
            (c.name, _over_time(drift.period[c.name], drift.reference[c.name], c.name)) for c in drift.comparisons
        ],
        compared=TableContent(
            caption="Medians, and the largest difference of the distribution functions (Kolmogorov-Smirnov)",
            head=["Statistic", "Calibration", "Now", "Difference", "p-value", ""],
            rows=[_row(comparison) for comparison in drift.comparisons],
        ),
    )


def _row(comparison: Shift) -> list[str]:
    span = abs(comparison.now - comparison.before)
    medians = [significant(value, span) for value in (comparison.before, comparison.now)]
    state = "drifted" if comparison.drifted else ""
    return [comparison.name, *medians, f"{comparison.difference:.2f}", f"{comparison.p_value:.1e}", state]


def _over_time(values: Sequence[float], reference: Sequence[float], name: str) -> Markup:
    medians = np.array([np.median(part) for part in np.array_split(values, min(POINTS, len(values)))])
    floor, ceiling = np.quantile(reference, BAND)
    low, high = min(float(floor), float(medians.min())), max(float(ceiling), float(medians.max()))
    margin = 0.05 * (high - low) or 0.5 * abs(low) or 0.5
    low, high = low - margin, high + margin

    def up(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    band = (
        f'<rect class="bars held-out" opacity="0.3" x="{LEFT}" y="{up(ceiling):.1f}" width="{right - LEFT}" '
        f'height="{up(floor) - up(ceiling):.1f}"/>'
    )
    labels = "".join(text(LEFT - 6, up(tick) + 4, f"{tick:.6g}", "end") for tick in ticks(low, high, 4))
    axis = f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    legend = text((LEFT + right) / 2, HEIGHT - 8, f"image 1 to {len(values)}", name=True)
    return svg(WIDTH, HEIGHT, f"{name} over time", f"{band}{axis}{labels}{legend}{_line(medians, up)}")


def _line(medians: NDArray[np.float64], up: Callable[[float], float]) -> str:
    step = (WIDTH - RIGHT - LEFT) / len(medians)
    points = [f"{LEFT + (i + 0.5) * step:.1f} {up(float(value)):.1f}" for i, value in enumerate(medians)]
    # A single median has no length: a short stroke shows it.
    path = f"M{points[0]}h1" if len(points) == 1 else f"M{'L'.join(points)}"
    return f'<path class="line s0" d="{path}"/>'
