"""Per-image histograms on shared bins, and the metrics of weighted images as matrix products of them.

Resampling a set gives each image a weight; the metrics of a thousand resamples are then a few products of a
(resamples, images) with an (images, bins) matrix. Bins are about equally long pieces of the ROC and PRO curves, so
they are finest where the metrics are made; scores within a bin count as ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.metrics.aupro import ramp_areas
from vtadl.metrics.counting import count_above, count_from, in_threads
from vtadl.metrics.pixels import PixelRanks
from vtadl.metrics.ranking import Ranks

Matrix = NDArray[np.float64]

PIECES = 512
"""Parts of the curves that have a bin of positives each; between two of them lies a bin without."""


@dataclass(frozen=True, kw_only=True)
class BinnedImages:
    """N images on B bins, from high scores to low."""

    negatives: Matrix
    """``(N, B)`` negatives of each image in each bin."""
    positives: Matrix
    overlap: Matrix | None = None
    """``(N, B)`` the shares of its regions that each image covers in each bin, summed over regions."""
    n_regions: NDArray[np.int64] | None = None
    """``(N,)``"""

    def metrics(self, weights_SN: Matrix, limits: Sequence[float]) -> dict[str, NDArray[np.float64]]:
        """AUROC, AP, F1Max and AUPRO at the limits for S weightings of the images; NaN where there is no positive."""
        n_SB, p_SB = weights_SN @ self.negatives, weights_SN @ self.positives
        false_SB, true_SB = n_SB.cumsum(axis=1), p_SB.cumsum(axis=1)
        n_S1, p_S1 = false_SB[:, -1:], true_SB[:, -1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            rate_SB = false_SB / n_S1
            start_SB = (false_SB - n_SB) / n_S1
            precision_SB = true_SB / np.maximum(true_SB + false_SB, 1e-300)
            metrics = {
                "AUROC": 1 - _rowwise(p_SB, rate_SB + start_SB) / (2 * p_S1[:, 0]),
                "AP": _rowwise(p_SB, precision_SB) / p_S1[:, 0],
                "F1Max": (2 * true_SB / (true_SB + false_SB + p_S1)).max(axis=1),
            }
            if self.overlap is not None and self.n_regions is not None:
                share_SB = (weights_SN @ self.overlap) / (weights_SN @ self.n_regions)[:, None]
                for limit in limits:
                    metrics[f"AUPRO@{limit:g}"] = _rowwise(share_SB, ramp_areas(start_SB, rate_SB, limit))
        return metrics


def bin_scores(scores: NDArray[np.float64], is_good: NDArray[np.bool_]) -> BinnedImages:
    """Image scores: each distinct score is a bin, or, of very many, equal numbers of them share one."""
    distinct = np.unique(scores)
    highest = distinct[:: -max(-(-len(distinct) // (2 * PIECES)), 1)]  # the highest score of each bin, falling
    bins = len(highest) - 1 - np.searchsorted(highest[::-1], scores, side="left")
    counts = np.zeros((2, len(scores), len(highest)))
    counts[(~is_good).astype(int), np.arange(len(scores)), bins] = 1
    return BinnedImages(negatives=counts[0], positives=counts[1])


def bin_pixels(maps: Sequence[NDArray[np.floating]], pixels: PixelRanks) -> BinnedImages:
    """Anomaly maps, in the order in which ``pixels`` was ranked; exact up to `PIECES` distinct scores of positives."""
    scores, pieces = pixels.ranks.scores, _pieces(pixels.ranks)
    changes = np.flatnonzero(np.diff(pieces)) + 1
    highest, lowest = scores[np.append(0, changes)], scores[np.append(changes - 1, len(scores) - 1)]

    def count(anomaly_map: NDArray[np.floating]) -> NDArray[np.int64]:
        """Pixels above the first piece, in it, between it and the second, in the second, and so on."""
        ordered = np.sort(anomaly_map, axis=None)
        upto = np.stack([count_above(ordered, highest), count_from(ordered, lowest)], axis=1)
        return np.diff(upto.ravel(), prepend=0, append=len(ordered))

    found = np.stack(in_threads(count, maps, sum(m.size for m in maps)))
    n_images, n_bins = found.shape
    bin_of_rank = 2 * np.searchsorted(changes, np.arange(len(scores)), side="right") + 1
    flat = pixels.image_of_pixel * np.int64(n_bins) + bin_of_rank[pixels.rank_of_pixel]
    shares = (1 / pixels.region_counts)[pixels.region_of_counted]
    positives = np.bincount(flat, minlength=n_images * n_bins).reshape(n_images, n_bins)
    overlap = np.bincount(flat[pixels.counted], weights=shares, minlength=n_images * n_bins).reshape(n_images, n_bins)
    return BinnedImages(
        negatives=(found - positives).astype(np.float64),
        positives=positives.astype(np.float64),
        overlap=overlap.astype(np.float64),
        n_regions=np.bincount(pixels.region_images, minlength=n_images),
    )


def _pieces(ranks: Ranks) -> NDArray[np.int64]:
    """``(K,)`` the piece of each distinct score: one of its own, or, of many, one of `PIECES` parts of the curves."""
    if len(ranks.scores) <= PIECES:
        return np.arange(len(ranks.scores))
    rate = ranks.negatives_from / ranks.n_negatives
    # The metrics that stop at a small false positive rate get as many bins as those that run to 1.
    length = np.cumsum(ranks.positives) / ranks.n_positives
    for limit in (1.0, 0.3, 0.05, 0.003):
        length = length + np.minimum(rate / limit, 1)
    pieces: NDArray[np.int64] = (length * (PIECES / length[-1])).astype(np.int64)
    return pieces


def _rowwise(a_SB: Matrix, b_SB: Matrix) -> NDArray[np.float64]:
    product: NDArray[np.float64] = np.einsum("sb,sb->s", a_SB, b_SB)
    return product
