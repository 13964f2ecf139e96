"""From a score map to a decision: score, p-value, verdict and regions. NumPy alone, so that any runtime shares it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.decision.card import Card, Verdict
from vtadl.decision.regions import Region, find_regions


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a detector says of one image."""

    score: float
    """How abnormal the image is: the maximum of its score map. Any range; higher is more abnormal."""
    score_map: NDArray[np.float32]
    """``(H, W)`` at the image's own size."""
    verdict: Verdict | None = None
    """"good", "review" or "defective"; ``None`` until the detector is calibrated."""
    p_value: float | None = None
    """How likely a good image is to score this high; ``None`` until the detector is calibrated."""
    regions: tuple[Region, ...] = ()
    """What a heat map outlines, the worst first; none until the detector is calibrated."""


def decide(score_map: NDArray[np.float32], card: Card | None, looked_at: NDArray[np.bool_] | None = None) -> Prediction:
    """Judge a score map.

    Args:
        score_map: ``(H, W)``, finite.
        card: of the detector; ``None`` while it is not calibrated.
        looked_at: ``(H, W)``, false where nothing counts; ``None``: everything does.
    """
    if looked_at is not None:
        # The calmest value of the map: finite, never outlined, never the maximum.
        score_map = np.where(looked_at, score_map, score_map.min())
    score = float(score_map.max())
    if card is None:
        return Prediction(score=score, score_map=score_map)
    return Prediction(
        score=score,
        score_map=score_map,
        verdict=card.verdict(score),
        p_value=card.p_value(score),
        regions=find_regions(score_map, card.pixel_threshold, looked_at),
    )
