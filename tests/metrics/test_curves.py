"""A curve draws itself where Matplotlib is installed, and says what is missing where it is not."""

import sys

import numpy as np
import pytest

from vtadl.errors import DependencyError
from vtadl.metrics.curves import Curve

CURVE = Curve(x=np.array([0.0, 0.2, 1.0]), y=np.array([0.0, 0.9, 1.0]))


def test_it_is_drawn_on_the_axes_that_are_given():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.add_subplot()
    assert CURVE.plot(axes, label="ours") is axes
    (line,) = axes.get_lines()
    assert line.get_label() == "ours"
    np.testing.assert_array_equal(line.get_xydata(), np.stack([CURVE.x, CURVE.y], axis=1))


def test_without_axes_it_takes_the_current_ones(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    figure = pyplot.figure()
    try:
        assert CURVE.plot().figure is figure
    finally:
        pyplot.close(figure)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DependencyError, match="pip install matplotlib"):
        CURVE.plot()
