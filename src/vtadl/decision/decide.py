"""From an anomaly map to a decision: score, p-value, verdict and regions. NumPy alone, so that any runtime shares
it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.decision.card import Card, Verdict
from vtadl.decision.regions import Region, find_regions


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a detector says of one image."""

    score: float
    """How abnormal the image is: the maximum of its anomaly map. Any range; higher is more abnormal."""
    anomaly_map: NDArray[np.float32]
    """``(H, W)`` at the image's own size."""
    verdict: Verdict | None = None
    """"good", "review" or "defective"; ``None`` until the detector is calibrated."""
    p_value: float | None = None
    """How likely a good image is to score this high; ``None`` until the detector is calibrated."""
    regions: tuple[Region, ...] = ()
    """What a heat map outlines, the worst first; none until the detector is calibrated."""


def decide(
    anomaly_map: NDArray[np.float32], card: Card | None, roi_mask: NDArray[np.bool_] | None = None
) -> Prediction:
    """Judge an anomaly map.

    Args:
        anomaly_map: ``(H, W)``, finite.
        card: of the detector; ``None`` while it is not calibrated.
        roi_mask: ``(H, W)``, false where nothing counts; ``None``: everything does.
    """
    if roi_mask is not None:
        # The calmest value of the map: finite, never outlined, never the maximum.
        anomaly_map = np.where(roi_mask, anomaly_map, anomaly_map.min())
    score = float(anomaly_map.max())
    if card is None:
        return Prediction(score=score, anomaly_map=anomaly_map)
    return Prediction(
        score=score,
        anomaly_map=anomaly_map,
        verdict=card.verdict(score),
        p_value=card.p_value(score),
        regions=find_regions(anomaly_map, card.pixel_threshold, roi_mask),
    )
