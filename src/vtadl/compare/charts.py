"""Charts of a comparison as SVG: a dot for each method and category, and the curve of a sweep."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from vtadl.compare.sweep import Sweep
from vtadl.compare.tables import Entry, Method, Table
from vtadl.reports.charts import svg, text, ticks

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 130, 20, 14, 44
ROW, DOT = 18, 4.5
SWEEP_HEIGHT = 320
LINE = 13
"""Height of a line of text."""
MEAN = "mean"
STYLE = "max-width:52rem"
COLOURS = 6
"""The page's style has as many; further methods get other shapes."""


def dot_chart(table: Table) -> Markup:
    """Categories down, the metric across; whiskers are the spread over seeds."""
    rows: list[tuple[str, dict[Method, Entry]]] = [
        (category, {method: table.entries[category, method] for method in table.methods})
        for category in table.categories
    ]
    if len(table.shared) > 1:
        rows.append((MEAN, table.means))
    low, high = _range([entry for _, entries in rows for entry in entries.values()])
    across = _scale(low, high)
    lane = max(ROW, 7 * len(table.methods) + 8)
    base = TOP + lane * len(rows)
    parts = [_value_axis(low, high, across, base, table.metric)]
    for place, (name, entries) in enumerate(rows):
        middle = TOP + lane * (place + 0.5)
        parts.append(f'<path class="grid" d="M{LEFT} {middle + lane / 2:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(text(LEFT - 10, middle + 4, name, "end", name=True))
        for index, entry in enumerate(entries.values()):
            y = middle + 7 * (index - (len(entries) - 1) / 2)
            if entry.mean is not None:
                parts.append(_dot(index, across(entry.mean), y, across, entry))
    return svg(WIDTH, base + BOTTOM, f"{table.metric} of each method, by category", "".join(parts), STYLE)


def method_key(table: Table) -> list[tuple[Markup, str]]:
    """Which colour and shape stands for which method: a small drawing and the method's name."""
    drawn = '<svg width="14" height="12" viewBox="0 0 14 12" aria-hidden="true">{}</svg>'
    return [
        (Markup(drawn.format(_mark(index, 7, 6))), table.label(method))  # noqa: S704  numbers alone
        for index, method in enumerate(table.methods)
    ]


def sweep_chart(table: Table, sweep: Sweep) -> Markup:
    """The metric over the weight, on a logarithmic axis: a line for each category, and their mean, of each preset."""
    lines = _sweep_lines(table, sweep)
    values = [y for _, points in lines for _, y in points if y is not None]
    low, high = _padded(min(values, default=0.0), max(values, default=1.0))
    first, last = math.log10(sweep.values[0]), math.log10(sweep.values[-1])
    span = (last - first) or 1.0

    def x_of(weight: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT - 110) * ((math.log10(weight) - first) / span)

    def y_of(value: float) -> float:
        return SWEEP_HEIGHT - BOTTOM - (SWEEP_HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = [_sweep_axes(sweep, table.metric, x_of, y_of, (low, high))]
    places = [[(x_of(v), y_of(y)) for v, y in points if y is not None] for _, points in lines]
    named = _apart([points[-1][1] for points in places if points])
    for index, ((name, _), points) in enumerate(zip(lines, places, strict=True)):
        if points:
            parts.append(_curve(index, name, points, named[points[-1][1]]))
    return svg(WIDTH, SWEEP_HEIGHT, f"{table.metric} over {sweep.name} in {sweep.expression}", "".join(parts), STYLE)


def _sweep_lines(table: Table, sweep: Sweep) -> list[tuple[str, list[tuple[float, float | None]]]]:
    """A name, and the metric at each weight."""
    lines = []
    swept = [method for method in table.methods if method.objective in sweep.objectives.values()]
    presets = dict.fromkeys(method.preset for method in swept)
    for preset in presets:
        of = {m.objective: m for m in swept if m.preset == preset}
        methods = [(value, of[objective]) for value, objective in sweep.objectives.items()]
        suffix = f", {preset}" if len(presets) > 1 else ""
        lines += [(f"{c}{suffix}", [(v, table.entries[c, m].mean) for v, m in methods]) for c in table.categories]
        if len(table.shared) > 1:
            lines.append((f"{MEAN}{suffix}", [(v, table.means[m].mean) for v, m in methods]))
    return lines


def _apart(heights: Sequence[float]) -> dict[float, float]:
    """Where to write names that belong at these heights, so that none covers another."""
    found: dict[float, float] = {}
    last = -math.inf
    for height in sorted(set(heights)):
        found[height] = last = max(height, last + LINE)
    beyond = max(last - (SWEEP_HEIGHT - BOTTOM), 0.0)
    return {height: place - beyond for height, place in found.items()}


def _curve(index: int, name: str, points: Sequence[tuple[float, float]], name_at: float) -> str:
    colour, width = f"var(--s{index % COLOURS})", 3 if name.partition(",")[0] == MEAN else 1.5
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:{colour}"/>' for x, y in points)
    line = f'<path style="stroke:{colour};stroke-width:{width}" d="M{path}"/>'
    return line + dots + text(points[-1][0] + 8, name_at + 4, name, "start", name=True)


def _sweep_axes(
    sweep: Sweep,
    metric: str,
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    extent: tuple[float, float],
) -> str:
    bottom, right = SWEEP_HEIGHT - BOTTOM, x_of(sweep.values[-1])
    parts = []
    for tick in ticks(*extent):
        parts.append(f'<path class="grid" d="M{LEFT} {y_of(tick):.1f}H{right:.1f}"/>')
        parts.append(text(LEFT - 8, y_of(tick) + 4, f"{tick:g}", "end"))
    for value in sweep.values:
        parts.append(f'<path class="axis" d="M{x_of(value):.1f} {bottom}v4"/>')
        parts.append(text(x_of(value), bottom + 17, f"{value:g}"))
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{right:.1f}"/>')
    middle = (TOP + bottom) / 2
    parts.append(text((LEFT + right) / 2, SWEEP_HEIGHT - 6, f"{sweep.name} in {sweep.expression}", name=True))
    parts.append(text(60, middle, metric.replace("_", " "), name=True, turned=True))
    return "".join(parts)


def _dot(index: int, x: float, y: float, across: Callable[[float], float], entry: Entry) -> str:
    whisker = ""
    if entry.spread and entry.mean is not None:
        start, end = (across(entry.mean + sign * entry.spread) for sign in (-1, 1))
        whisker = f'<path style="stroke:var(--s{index % COLOURS})" d="M{start:.1f} {y:.1f}H{end:.1f}"/>'
    return whisker + _mark(index, x, y)


def _mark(index: int, x: float, y: float) -> str:
    colour = f'style="fill:var(--s{index % COLOURS})"'
    match index // COLOURS % 3:
        case 0:
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT}" {colour}/>'
        case 1:
            return f'<rect x="{x - DOT:.1f}" y="{y - DOT:.1f}" width="{2 * DOT}" height="{2 * DOT}" {colour}/>'
        case _:
            points = f"{x:.1f},{y - DOT:.1f} {x - DOT:.1f},{y + DOT:.1f} {x + DOT:.1f},{y + DOT:.1f}"
            return f'<polygon points="{points}" {colour}/>'


def _range(entries: Sequence[Entry]) -> tuple[float, float]:
    ends = [
        entry.mean + sign * (entry.spread or 0.0) for entry in entries if entry.mean is not None for sign in (-1, 1)
    ]
    return _padded(min(ends, default=0.0), max(ends, default=1.0))


def _padded(low: float, high: float) -> tuple[float, float]:
    """A range with some room, from a round number to another; never beyond what a metric can be."""
    margin = max(0.05 * (high - low), 0.01)
    return max(math.floor((low - margin) * 20) / 20, 0.0), min(math.ceil((high + margin) * 20) / 20, 1.0)


def _scale(low: float, high: float) -> Callable[[float], float]:
    return lambda value: LEFT + (WIDTH - LEFT - RIGHT) * (min(max(value, low), high) - low) / (high - low)


def _value_axis(low: float, high: float, across: Callable[[float], float], base: float, metric: str) -> str:
    parts = [f'<path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}"/>']
    for tick in ticks(low, high):
        parts.append(f'<path class="grid" d="M{across(tick):.1f} {TOP}V{base}"/>')
        parts.append(text(across(tick), base + 17, f"{tick:g}"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, base + 37, metric.replace("_", " "), name=True))
    return "".join(parts)
