"""Charts whose every coordinate is known."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from vtadl.reports.charts import (
    BINS,
    ROW_HEIGHT,
    Histogram,
    Line,
    colour_bar,
    curve_chart,
    histograms,
    outline_path,
    significant,
    ticks,
)

# The plot's corners in the charts' own units: margins of 46, 14, 12 and 44 around 360 x 290.
X0, X1, Y0, Y1 = 46, 346, 246, 12


def line(x, y, label="curve"):
    return Line(label=label, x=np.array(x, float), y=np.array(y, float))


def points(svg, style):
    path = next(p for p in ET.fromstring(svg).iter("path") if p.get("class") == style and "L" in p.get("d"))
    return [tuple(map(float, pair)) for pair in re.findall(r"([\d.-]+) ([\d.-]+)", path.get("d"))]


def chart(*lines, kind="ROC"):
    return curve_chart(kind, lines, "a < b")


def test_a_curve_runs_from_corner_to_corner():
    svg = chart(line([0, 0.25, 1], [0, 0.5, 1]))
    assert points(svg, "line s0") == [(X0, Y0), (X0 + 75, (Y0 + Y1) / 2), (X1, Y1)]
    assert ET.fromstring(svg).get("aria-label") == "a < b"


def test_a_curve_is_cut_at_the_limit_by_interpolation():
    found = points(chart(line([0, 0.2, 0.4, 1], [0, 0.6, 0.8, 1]), kind="PRO"), "line s0")
    assert found[-1] == pytest.approx((X1, Y0 + 0.7 * (Y1 - Y0)), abs=0.06)
    assert found[1] == pytest.approx((X0 + 200, Y0 + 0.6 * (Y1 - Y0)), abs=0.06)
    assert len(found) == 3


def test_each_curve_has_a_style_and_a_legend():
    svg = chart(line([0, 1], [0, 1], "first"), line([0, 1], [0, 0.5], "a & b"), kind="ROC")
    assert points(svg, "line s1")[-1] == (X1, (Y0 + Y1) / 2)
    assert points(svg, "chance") == [(X0, Y0), (X1, Y1)]
    assert {"first", "a & b"} <= {text.text for text in ET.fromstring(svg).iter("text")}


def bars(svg):
    paths = [p for p in ET.fromstring(svg).iter("path") if (p.get("class") or "").startswith("bars")]
    return [
        [(float(x), float(h)) for x, h in re.findall(r"M([\d.]+) [\d.]+v-([\d.]+)", path.get("d"))] for path in paths
    ]


def test_bars_stand_where_the_values_are_and_scale_by_row():
    groups = [
        Histogram(label="few", values=[0.0, 0.0, 1.0], style="good"),
        Histogram(label="many", values=[1.0] * 50, style="bad"),
    ]
    few, many = bars(histograms(groups, title="t", x_label="x", mark=0.5))
    width = (X1 - X0) / BINS
    assert few == [(pytest.approx(X0, abs=1), ROW_HEIGHT), (pytest.approx(X1 - width, abs=1), ROW_HEIGHT / 2)]
    assert many == [(pytest.approx(X1 - width, abs=1), ROW_HEIGHT)]


def test_the_mark_stands_at_its_value():
    svg = histograms([Histogram(label="g", values=[2.0, 6.0], style="good")], title="t", x_label="x", mark=3.0)
    mark = next(p for p in ET.fromstring(svg).iter("path") if p.get("class") == "mark")
    assert mark.get("d").startswith(f"M{X0 + 0.25 * (X1 - X0):.1f} ")


def test_the_mark_crosses_no_label():
    groups = [Histogram(label=f"group {number}", values=[2.0, 6.0], style="good") for number in range(3)]
    root = ET.fromstring(histograms(groups, title="t", x_label="x", mark=3.0))
    mark = next(path for path in root.iter("path") if path.get("class") == "mark")
    spans = [tuple(map(float, span)) for span in re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", mark.get("d"))]
    assert len(spans) == 3
    labels = [float(text.get("y")) for text in root.iter() if (text.text or "").startswith("group")]
    assert len(labels) == 3
    assert not any(top < label < bottom or top < label - 8 < bottom for top, bottom in spans for label in labels)


@pytest.mark.parametrize(
    "values",
    [[3.0], [0.0] * 4, [1e8, 1e8], [-math.inf, 1.0, 2.0, math.inf], [math.inf], [1e-8, 2e-8], [1e300, -1e300 / 4]],
)
def test_odd_values_still_make_a_chart_with_all_of_them(values):
    svg = histograms([Histogram(label="g", values=values, style="good")], title="t", x_label="x")
    assert len(bars(svg)[0]) >= 1
    assert "nan" not in svg
    assert "inf" not in svg.replace("infer", "")


def test_the_outline_of_a_square_and_a_hole_is_made_of_their_edges():
    mask = np.zeros((6, 7), bool)
    mask[1:5, 2:6] = True
    assert sorted(outline_path(mask).split("M")[1:]) == ["2 1H6", "2 1V5", "2 5H6", "6 1V5"]
    mask[2, 3] = False
    assert {"3 2H4", "3 3H4", "3 2V3", "4 2V3"} <= set(outline_path(mask).split("M"))


def test_the_outline_follows_the_images_border_and_is_empty_without_defects():
    assert sorted(outline_path(np.ones((2, 3), bool)).split("M")[1:]) == ["0 0H3", "0 0V2", "0 2H3", "3 0V2"]
    assert outline_path(np.zeros((2, 3), bool)) == ""


def test_the_outline_has_an_edge_for_each_pair_of_unlike_neighbours():
    mask = np.random.default_rng(0).random((40, 30)) < 0.3
    padded = np.pad(mask, 1).astype(int)
    length = sum(abs(int(b) - int(a)) for a, b in re.findall(r"M(\d+) \d+H(\d+)", outline_path(mask)))
    length += sum(abs(int(b) - int(a)) for a, b in re.findall(r"M\d+ (\d+)V(\d+)", outline_path(mask)))
    assert length == np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.3, [0, 0.1, 0.2, 0.3]),
        (-3.2, 9.1, [0, 5]),
        (1e8, 1e8 + 4, [1e8, 1e8 + 1, 1e8 + 2, 1e8 + 3, 1e8 + 4]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == expected


@pytest.mark.parametrize(
    ("value", "span", "shown"),
    [
        (3.14159, 5.0, "3.14"),
        (3.14159, 50.0, "3.1"),
        (123.456, 0.5, "123.456"),
        (1e8 + 0.25, 1.0, "1.0000000025e+08"),
        (2.5e-8, 1e-8, "2.50e-08"),
        (math.inf, 1.0, "inf"),
        (2.0, 0.0, "2"),
    ],
)
def test_numbers_have_the_digits_that_tell_them_apart(value, span, shown):
    assert significant(value, span) == shown


def test_the_colour_bar_names_the_scores_where_colour_begins_and_ends():
    shown = [text.text for text in ET.fromstring(colour_bar(1.0, 7.0)).iter("text")]
    assert shown == ["2.00", "3.45", "7.00"]
