"""Charts as the shapes of an SVG; the templates draw them, style sheets colour them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from vtadl.server.schemas import moment

WIDTH, HEIGHT = 960, 120


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Counts of one hour."""

    at_ms: int
    parts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in chart units."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    count: int


@dataclass(frozen=True, kw_only=True)
class StackedBars:
    """A drawn bar chart."""

    boxes: Sequence[Box]
    ticks: Sequence[datetime]
    """Hours below, each at the left of its share of the width."""
    totals: Mapping[str, int]
    highest: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """A drawn line of values over their order, with the range that calibration had."""

    points: str
    band: tuple[float, float] | None
    """Top and height of the band between the 5th and the 95th percentile of calibration."""
    low: float
    high: float


def stacked_bars(bars: Sequence[Bar]) -> StackedBars:
    """Draw counts by hour."""
    highest = max((sum(bar.parts.values()) for bar in bars), default=0)
    step = WIDTH / max(len(bars), 1)
    boxes, totals = [], dict.fromkeys(bars[0].parts, 0) if bars else {}
    for number, bar in enumerate(bars):
        top = float(HEIGHT)
        for kind, count in bar.parts.items():
            totals[kind] += count
            if count:
                height = HEIGHT * count / highest
                top -= height
                boxes.append(Box(kind=kind, x=step * number + 2, y=top, width=step - 4, height=height, count=count))
    ticks = [moment(bar.at_ms) for n, bar in enumerate(bars) if n % 4 == 0]
    return StackedBars(boxes=boxes, ticks=ticks, totals=totals, highest=highest)


def line(values: Sequence[float], calibration: Sequence[float]) -> Line:
    """Draw values in their order, and the band in which nine tenths of calibration lay."""
    low, high = min([*values, *calibration]), max([*values, *calibration])
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return round(HEIGHT * (1 - (value - low) / span), 1)

    step = WIDTH / max(len(values) - 1, 1)
    points = " ".join(f"{round(step * n, 1)},{y(value)}" for n, value in enumerate(values))
    ordered = sorted(calibration)
    band = None
    if ordered:
        bottom, top = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
        band = (y(top), max(y(bottom) - y(top), 1.0))
    return Line(points=points, band=band, low=low, high=high)
