"""ROC and precision-recall: metrics and curves, exact, ties merged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.errors import DependencyError
from vtadl.metrics.ranking import Ranks


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of a curve, to be joined by straight lines; each lies exactly on the full curve."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def plot(self, axes: Any = None, **line: Any) -> Any:
        """Draw it with Matplotlib, where that is installed.

        Args:
            axes: of Matplotlib, to draw on; ``None``: the current ones.
            line: how the line looks, such as ``label="ours"``.

        Returns:
            The axes.

        Raises:
            DependencyError: Matplotlib is missing.
        """
        if axes is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise DependencyError("a plot needs Matplotlib; add it with: pip install matplotlib") from error
            axes = pyplot.gca()
        axes.plot(self.x, self.y, **line)
        return axes


def ranked_auroc(ranks: Ranks) -> float:
    """The chance that a positive scores higher than a negative, ties counting half; the sums are exact integers.

    Source: J. Hanley and B. McNeil, The meaning and use of the area under a ROC curve, 1982.
    """
    above = _exact_dot(ranks.positives, ranks.negatives_above) + _exact_dot(ranks.positives, ranks.negatives_from)
    pairs = 2 * ranks.n_positives * ranks.n_negatives
    return (pairs - above) / pairs


def ranked_average_precision(ranks: Ranks) -> float:
    """The mean precision over the positives, each at its own score as the threshold (no interpolation)."""
    return float(ranks.positives @ _precision(ranks)) / ranks.n_positives


def ranked_f1_max(ranks: Ranks) -> tuple[float, float]:
    """The best F1 over all thresholds, and the score that reaches it (``score >= threshold`` is a detection)."""
    true = np.cumsum(ranks.positives)
    f1 = 2 * true / (true + ranks.negatives_from + ranks.n_positives)
    best = int(f1.argmax())
    return float(f1[best]), float(ranks.scores[best])


def roc_curve(ranks: Ranks) -> Curve:
    """True positive rate (y) against false positive rate (x)."""
    return step_curve(ranks, np.cumsum(ranks.positives) / ranks.n_positives)


def precision_recall_curve(ranks: Ranks) -> Curve:
    """Precision (y) against recall (x), at distinct scores of the positives."""
    recall, precision = np.cumsum(ranks.positives) / ranks.n_positives, _precision(ranks)
    moves = np.abs(np.diff(precision, prepend=precision[:1])) + np.diff(recall, prepend=0.0)
    keep = _spaced(np.cumsum(moves))
    return Curve(x=recall[keep], y=precision[keep])


def step_curve(ranks: Ranks, covered: NDArray[np.float64]) -> Curve:
    """A rising share of something (y) against the false positive rate (x), from (0, 0) to (1, 1).

    Args:
        ranks: the thresholds.
        covered: ``(K,)`` the share that is reached at each of the distinct scores of the positives.
    """
    keep = _spaced(covered + ranks.negatives_from / ranks.n_negatives)
    before = np.where(keep > 0, covered[keep - 1], 0.0)
    x = np.stack([ranks.negatives_above[keep], ranks.negatives_from[keep]], axis=1).ravel() / ranks.n_negatives
    y = np.stack([before, covered[keep]], axis=1).ravel()
    return Curve(x=np.concatenate([[0.0], x, [1.0]]), y=np.concatenate([[0.0], y, [1.0]]))


def _spaced(length: NDArray[np.float64], steps: int = 1000) -> NDArray[np.intp]:
    """The first and the last point in each of ``steps`` equal pieces of a curve's length, given at each point.

    A point left out lies between two kept ones that are less than ``length[-1] / steps`` apart along the curve, so a
    plot of the kept ones is off by less than that: 0.002 for a rising curve from (0, 0) to (1, 1).
    """
    piece = (length * (steps / length[-1])).astype(np.int32)
    changes = piece[1:] != piece[:-1]
    return np.flatnonzero(np.concatenate([[True], changes]) | np.concatenate([changes, [True]]))


def _precision(ranks: Ranks) -> NDArray[np.float64]:
    true = np.cumsum(ranks.positives)
    precision: NDArray[np.float64] = true / (true + ranks.negatives_from)
    return precision


def _exact_dot(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """The sum of products, exact where its 64-bit form would overflow: for sums of ``a`` up to 2^39."""
    return int(a @ (b & 0xFFFFFF)) + (int(a @ (b >> 24)) << 24)
