"""Metrics that can be trusted: exact, pure, NumPy in and floats out."""

from vtadl.metrics.breakdown import Breakdown, Group, Overlap
from vtadl.metrics.comparison import Comparison, compare_metrics
from vtadl.metrics.curves import Curve
from vtadl.metrics.evaluation import LIMITS, Evaluation, evaluate
from vtadl.metrics.functional import aupimo, aupro, auroc, average_precision, f1_max
from vtadl.metrics.images import GOOD, AnnotatedRegion, ScoredImage

__all__ = [
    "GOOD",
    "LIMITS",
    "AnnotatedRegion",
    "Breakdown",
    "Comparison",
    "Curve",
    "Evaluation",
    "Group",
    "Overlap",
    "ScoredImage",
    "aupimo",
    "aupro",
    "auroc",
    "average_precision",
    "compare_metrics",
    "evaluate",
    "f1_max",
]
