"""Draw docs/pictures/metrics_*.svg from the simulated set of metrics_traps.py: what each metric is the area of.

Run: python benchmarks/metrics_pictures.py
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metrics_traps import make
from vtadl.metrics import Curve, Evaluation, evaluate

SIZE, MARGIN = 260, 44
INK, SHADE, STRONG = "#1b3a57", "#a9c6e0", "#5b8fbf"
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"


def at(x: float, y: float) -> str:
    return f"{MARGIN + x * SIZE:.1f},{MARGIN + (1 - y) * SIZE:.1f}"


def joined(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """The points that differ on a screen."""
    points = [at(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    pixel = np.round(np.stack([x, y]) * SIZE)
    keep = np.append(True, (np.diff(pixel) != 0).any(axis=0))
    keep[-1] = True
    return " ".join(point for point, kept in zip(points, keep, strict=True) if kept)


def area(curve: Curve, limit: float, colour: str) -> str:
    inside = curve.x < limit
    x, y = np.append(curve.x[inside], limit), np.append(curve.y[inside], np.interp(limit, curve.x, curve.y))
    return f'<polygon points="{at(float(x[0]), 0)} {joined(x, y)} {at(limit, 0)}" fill="{colour}"/>'


def line(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return f'<polyline points="{joined(x, y)}" fill="none" stroke="{INK}" stroke-width="1.6"/>'


def text(x: float, y: float, content: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{content}</text>'


def panel(name: str, title: str, across: str, up: str, parts: list[str]) -> None:
    side = SIZE + 2 * MARGIN
    frame = f'<rect x="{MARGIN}" y="{MARGIN}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#888"/>'
    ticks = [text(MARGIN + v * SIZE, MARGIN + SIZE + 15, f"{v:g}") for v in (0, 0.5, 1)]
    ticks += [text(MARGIN - 6, MARGIN + (1 - v) * SIZE + 4, f"{v:g}", "end") for v in (0, 0.5, 1)]
    labels = [
        text(side / 2, 24, title, more='font-weight="bold"'),
        text(side / 2, side - 8, across),
        text(14, side / 2, up, more=f'transform="rotate(-90 14 {side / 2:.0f})"'),
    ]
    style = 'font-family="sans-serif" font-size="12" fill="#222"'
    body = "\n".join([*parts, frame, *ticks, *labels])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 {side} {side}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n<g {style}>\n{body}\n</g>\n</svg>\n'
    )
    (PICTURES / f"metrics_{name}.svg").write_text(svg, encoding="utf-8")


def draw(evaluation: Evaluation) -> None:
    metrics, curves = evaluation.metrics, evaluation.curves
    roc, pr, pro = curves["pixel_ROC"], curves["pixel_PR"], curves["pixel_PRO"]
    panel(
        "roc",
        f"pixel AUROC {metrics['pixel_AUROC']:.3f}",
        "share of defect-free pixels flagged",
        "share of defective pixels found",
        [area(roc, 1.0, SHADE), line(roc.x, roc.y)],
    )
    f1 = 2 * pr.x * pr.y / (pr.x + pr.y)
    best = int(f1.argmax())
    cx, cy = at(float(pr.x[best]), float(pr.y[best])).split(",")
    panel(
        "pr",
        f"pixel AP {metrics['pixel_AP']:.3f}, F1Max {metrics['pixel_F1Max']:.3f}",
        "recall",
        "precision",
        [
            area(pr, 1.0, SHADE),
            line(pr.x, pr.y),
            f'<circle cx="{cx}" cy="{cy}" r="5" fill="{INK}"/>',
            text(float(cx) + 8, float(cy) - 8, "F1Max", "start"),
        ],
    )
    panel(
        "pro",
        f"AUPRO@0.3 {metrics['pixel_AUPRO@0.3']:.3f}, AUPRO@0.05 {metrics['pixel_AUPRO@0.05']:.3f}",
        "share of defect-free pixels flagged",
        "mean share covered, over regions",
        [area(pro, 0.3, SHADE), area(pro, 0.05, STRONG), line(pro.x, pro.y)],
    )
    bars = []
    for row, (name, value) in enumerate(metrics.items()):
        y = 0.97 - row * 0.122
        low, high = evaluation.intervals[name]
        bars += [
            f'<polyline points="{at(low, y)} {at(high, y)}" stroke="{STRONG}" stroke-width="7"/>',
            f'<circle cx="{at(value, y).split(",")[0]}" cy="{at(value, y).split(",")[1]}" r="3" fill="{INK}"/>',
            text(MARGIN + 4, float(at(0, y).split(",")[1]) + 18, name, "start", 'font-size="10"'),
        ]
    panel("intervals", "metrics and their 95 % intervals", "", "", bars)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True, parents=True)
    draw(evaluate(make()))
