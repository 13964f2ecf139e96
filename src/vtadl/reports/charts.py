"""Charts as SVG that stands in a page: no script, no raster, colours by class from the page's style sheet.

Coordinates are in the SVG's own units, which the page scales to the width there is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from vtadl.decision import heatmap

WIDTH, HEIGHT = 360, 290
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 44
"""Margins around the plot."""
ROW_HEIGHT, ROW_GAP = 56, 22
BINS = 36
BAR_HEIGHT = 14
AXES = {
    "ROC": ("false positive rate", "true positive rate"),
    "PR": ("recall", "precision"),
    "PRO": ("false positive rate of pixels", "per-region overlap"),
}
"""What is drawn against what, by the kind of curve."""
PRO_LIMIT = 0.3


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve in a line chart."""

    label: str
    x: NDArray[np.float64]
    """``(N,)`` rising, from 0."""
    y: NDArray[np.float64]
    """``(N,)`` in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Values that a histogram shows in a row of their own."""

    label: str
    values: Sequence[float]
    style: Literal["good", "bad", "held-out"]


def curve_chart(kind: str, lines: Sequence[Line], title: str) -> Markup:
    """Curves of one kind of `AXES`, y from 0 to 1 and x from 0 to 1 or `PRO_LIMIT`, with a legend in a lower corner."""
    limit = PRO_LIMIT if kind == "PRO" else 1.0
    parts = [_axes(*AXES[kind], limit)]
    if kind == "ROC":
        parts.append(_path("chance", np.array([0.0, 1.0]), np.array([0.0, 1.0]), limit))
    parts += [_path(f"line s{i}", *_cut(line, limit), limit) for i, line in enumerate(lines)]
    parts.append(_legend([line.label for line in lines], left=kind == "PR"))
    return svg(WIDTH, HEIGHT, title, "".join(parts))


def histograms(groups: Sequence[Histogram], *, title: str, x_label: str, mark: float | None = None) -> Markup:
    """A row of bars for each group over one axis, each row scaled to its own highest bar.

    Args:
        groups: at least one with a value; infinite values count as the nearest finite one.
        title: what the chart shows, for those who cannot see it.
        x_label: what the values are.
        mark: a value to draw a dashed line at.
    """
    finite = np.array([value for group in groups for value in group.values if math.isfinite(value)])
    low, high = _range(finite)
    height = TOP + len(groups) * (ROW_HEIGHT + ROW_GAP) + BOTTOM
    base = height - BOTTOM
    parts = [_value_axis(low, high, base, x_label)]
    for row, group in enumerate(groups):
        floor = TOP + (row + 1) * (ROW_HEIGHT + ROW_GAP)
        counts, _ = np.histogram(np.clip(group.values, low, high), BINS, (low, high))
        parts.append(_bars(counts, floor, group))
    if mark is not None and low <= mark <= high:
        x = _across((mark - low) / (high - low))
        floors = [TOP + (row + 1) * (ROW_HEIGHT + ROW_GAP) for row in range(len(groups))]
        # Beside the bars alone: between them it would cross the rows' labels.
        down = "".join(f"M{x:.1f} {floor - ROW_HEIGHT}V{floor}" for floor in floors)
        parts.append(f'<path class="mark" d="{down}"/>')
    return svg(WIDTH, height, title, "".join(parts))


def colour_bar(low: float, high: float) -> Markup:
    """The heat maps' colour scale over the grey of a photo, with the scores it stands for.

    Args:
        low: score of a calm pixel.
        high: score of the last colour.
    """
    before = 0.25  # the share of the bar that shows scores without colour
    steps = np.linspace(0, 1, 21, dtype=np.float32)
    stops = "".join(
        f'<stop offset="{before + (1 - before) * place:.3f}" stop-color="rgb({red:.0f},{green:.0f},{blue:.0f})" '
        f'stop-opacity="{opacity:.3f}"/>'
        for place, (red, green, blue), opacity in zip(
            steps, heatmap.colours(steps), heatmap.opacities(steps), strict=True
        )
    )
    width, bottom = WIDTH - 2 * RIGHT, TOP + BAR_HEIGHT
    ticks = "".join(
        text(RIGHT + width * (before + (1 - before) * place), bottom + 16, shown, "end" if place == 1 else "middle")
        for place in (0.0, 0.5, 1.0)
        for shown in [significant(heatmap.score_at(place, low, high), high - low)]
    )
    bar = f'x="{RIGHT}" y="{TOP}" width="{width}" height="{BAR_HEIGHT}" rx="2"'
    content = (
        f'<defs><linearGradient id="scale">{stops}</linearGradient></defs>'
        f'<rect {bar} class="photo-grey"/><rect {bar} fill="url(#scale)"/>{ticks}'
    )
    return svg(WIDTH, bottom + 24, "Colour scale of the heat maps, from no colour to the highest scores", content)


def outline_path(mask: NDArray[np.bool_]) -> str:
    """The borders of a mask's regions as an SVG path in pixels: lines along the edges between pixels.

    Args:
        mask: ``(H, W)``.

    Returns:
        The path's data; empty for an empty mask.
    """
    padded = np.pad(mask, 1)
    across = "".join(f"M{a} {row}H{b}" for row, a, b in _runs(np.diff(padded, axis=0)[:, 1:-1]))
    down = "".join(f"M{column} {a}V{b}" for column, a, b in _runs(np.diff(padded, axis=1)[1:-1].T))
    return across + down


def significant(value: float, span: float) -> str:
    """A number with as many decimals as tell values apart that differ by a hundredth of ``span``."""
    if not math.isfinite(value) or span <= 0:
        return f"{value:g}"
    largest = max(abs(value), span)
    digits = max(3, 3 + math.floor(math.log10(largest)) - math.floor(math.log10(span)))
    if 1e-4 <= largest < 1e7:
        return f"{value:.{max(digits - 1 - math.floor(math.log10(largest)), 0)}f}"
    return f"{value:.{digits - 1}e}"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def svg(width: int, height: float, title: str, content: str, style: str = "") -> Markup:
    """A drawing of so many units; ``title`` says what it shows to those who cannot see it."""
    styled = f' style="{style}"' if style else ""
    return Markup(  # noqa: S704  `text` escapes all text in it
        f'<svg class="chart"{styled} viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{content}</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "middle", *, name: bool = False, turned: bool = False) -> str:
    """Words at a place; ``name`` is the style of what names an axis or a row, ``turned`` runs upwards."""
    style = ' class="name"' if name else ""
    turn = f' transform="rotate(-90 {x:g} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}{turn}>{escape(words)}</text>'


def _across(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _up(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _axes(x_label: str, y_label: str, x_limit: float) -> str:
    left, right, top, bottom = _across(0), _across(1), _up(1), _up(0)
    grid, labels = "", ""
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        grid += f"M{left} {_up(share):.1f}H{right}"
        labels += text(left - 7, _up(share) + 4, f"{share:g}", "end")
    for tick in ticks(0, x_limit):
        grid += f"M{_across(tick / x_limit):.1f} {top}V{bottom}"
        labels += text(_across(tick / x_limit), bottom + 17, f"{tick:g}")
    middle = (top + bottom) / 2
    names = text((left + right) / 2, HEIGHT - 6, x_label, name=True)
    names += text(12, middle, y_label, name=True, turned=True)
    return f'<path class="grid" d="{grid}"/>{labels}{names}'


def _value_axis(low: float, high: float, base: float, x_label: str) -> str:
    labels = f'<path class="axis" d="M{_across(0)} {base}H{_across(1)}"/>'
    for tick in ticks(low, high):
        x = _across((tick - low) / (high - low))
        labels += f'<path class="axis" d="M{x:.1f} {base}v4"/>' + text(x, base + 17, f"{tick:.10g}")
    return labels + text((_across(0) + _across(1)) / 2, base + 38, x_label, name=True)


def _bars(counts: NDArray[np.int64], floor: float, group: Histogram) -> str:
    width = (_across(1) - _across(0)) / len(counts)
    heights = counts / max(counts.max(), 1) * ROW_HEIGHT
    path = "".join(
        f"M{_across(0) + i * width + 0.4:.1f} {floor}v{-height:.1f}h{width - 0.8:.1f}v{height:.1f}z"
        for i, height in enumerate(heights)
        if height > 0
    )
    line = f'<path class="grid" d="M{_across(0)} {floor}H{_across(1)}"/>'
    name = text(_across(1), floor - ROW_HEIGHT - 6, f"{group.label}: {len(group.values)}", "end")
    return f'{line}<path class="bars {group.style}" d="{path}"/>{name}'


def _path(style: str, x: NDArray[np.float64], y: NDArray[np.float64], x_limit: float) -> str:
    points = [f"{_across(a / x_limit):.1f} {_up(b):.1f}" for a, b in zip(x, y, strict=True)]
    # Points that fall on one place of the drawing are one.
    kept = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
    return f'<path class="{style}" d="M{"L".join(kept)}"/>'


def _cut(line: Line, x_limit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inside = line.x <= x_limit
    if inside.all():
        return line.x, line.y
    at_limit = np.interp(x_limit, line.x, line.y)
    return np.append(line.x[inside], x_limit), np.append(line.y[inside], at_limit)


def _legend(labels: Sequence[str], *, left: bool) -> str:
    swatch = 18
    x = _across(0.04 if left else 0.56)
    parts = []
    for i, label in enumerate(labels):
        y = _up(0.05) - 16 * (len(labels) - 1 - i)
        parts.append(f'<path class="line s{i}" d="M{x:.1f} {y - 4:.1f}h{swatch}"/>')
        parts.append(text(x + swatch + 6, y, label, "start"))
    return "".join(parts)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.5 * abs(low) or 0.5
        return low - margin, high + margin
    return low, high


def _runs(edges: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Row, start and end of each run of true values in the rows of an array."""
    turns = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(turns == 1), np.argwhere(turns == -1)
    return [(int(row), int(start), int(end)) for (row, start), (_, end) in zip(starts, ends, strict=True)]
