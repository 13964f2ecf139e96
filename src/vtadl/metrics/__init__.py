"""Metrics that can be trusted: exact, pure, NumPy in and floats out."""

from vtadl.metrics.bounds import Bounded
from vtadl.metrics.breakdown import Breakdown, Group, Overlap
from vtadl.metrics.comparison import Comparison, compare_metrics
from vtadl.metrics.curves import Curve
from vtadl.metrics.evaluation import LIMITS, Evaluation, evaluate
from vtadl.metrics.images import GOOD, ScoredImage
from vtadl.metrics.streaming import StreamingEvaluation

__all__ = [
    "GOOD",
    "LIMITS",
    "Bounded",
    "Breakdown",
    "Comparison",
    "Curve",
    "Evaluation",
    "Group",
    "Overlap",
    "ScoredImage",
    "StreamingEvaluation",
    "compare_metrics",
    "evaluate",
]
