"""Score good images that a detector did not learn from: what calibrates its colours and thresholds."""

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.data.appearance import measure_appearance
from vtadl.data.roi import fitted_mask
from vtadl.data.training_images import TrainingImages
from vtadl.decision.heatmap import colour_scale
from vtadl.inference.predict import predict_files
from vtadl.progress import Progress
from vtadl.runs.run import HeldOut, Run

CALM_QUANTILE = 0.5


def score_held_out(run: Run, images: TrainingImages, device: torch.device, progress: Progress) -> HeldOut:
    """Scores and appearance of good images, and the colour scale on which they look calm."""
    calm, scores, appearance = [], [], []
    with progress("calibrating", len(images)) as advance:
        for scored in predict_files(run, images.paths, device, keep_originals=True):
            assert scored.original is not None
            appearance.append(measure_appearance(scored.original))
            calm.append(_calm(scored.prediction.anomaly_map, run.roi_mask))
            scores.append(scored.prediction.score)
            advance(1)
    low, high = colour_scale(calm, scores)
    return HeldOut(
        scores=tuple(scores),
        sha256=images.sha256,
        appearance=tuple(appearance),
        colour_low=low,
        colour_high=high,
    )


def _calm(anomaly_map: NDArray[np.float32], roi_mask: NDArray[np.bool_] | None) -> float:
    height, width = anomaly_map.shape
    counted = anomaly_map if roi_mask is None else anomaly_map[fitted_mask(roi_mask, (height, width))]
    return float(np.quantile(counted, CALM_QUANTILE))
