"""From an anomaly map to a decision: score, p-value, verdict and regions. NumPy alone, so that any runtime shares
it.
"""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vtadl.decision.card import Card, Verdict
from vtadl.decision.regions import Region, find_regions
from vtadl.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


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
    picture: "Callable[[], Image] | None" = field(default=None, repr=False, compare=False)
    """Draws the photo beside its heat map, where whoever predicted kept the photo."""

    def to_dict(self) -> dict[str, Any]:
        """All but the anomaly map, of which the size is there, as JSON takes it."""
        return {
            "score": self.score,
            "p_value": self.p_value,
            "verdict": self.verdict,
            "regions": [asdict(region) for region in self.regions],
            "height": self.anomaly_map.shape[0],
            "width": self.anomaly_map.shape[1],
        }

    def overlay(self) -> "Image":
        """The photo beside its heat map, with verdict, score, threshold and scale, as a PIL image.

        Raises:
            DataError: the photo was not kept: only `vtadl.Detector.predict` keeps it.
        """
        if self.picture is None:
            raise DataError("this prediction keeps no photo; vtadl.Detector.predict gives one that can be shown")
        return self.picture()

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows; nothing where the photo was not kept."""
        if self.picture is None:
            return None
        file = io.BytesIO()
        self.picture().save(file, "PNG")
        return file.getvalue()


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
