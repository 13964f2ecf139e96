"""From images to the counts behind the pixel metrics: one pass over the scores serves all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtadl.errors import DataError
from vtadl.metrics.counting import count_greater
from vtadl.metrics.images import ScoredImage, has_pixels
from vtadl.metrics.ranking import Ranks
from vtadl.metrics.regions import label_regions


@dataclass(frozen=True, kw_only=True)
class PixelRanks:
    """All defective pixels of a set of images, ranked among its defect-free pixels."""

    ranks: Ranks
    rank_of_pixel: NDArray[np.int64]
    """``(P,)`` for each defective pixel, image after image in reading order, the index of its score in ``ranks``."""
    region_of_pixel: NDArray[np.int64]
    """``(P,)`` the region of each defective pixel, counted through the whole set."""
    region_areas: NDArray[np.int64]
    """``(R,)`` pixels of each region."""
    region_images: NDArray[np.int64]
    """``(R,)`` the index of the image that each region lies in."""


def rank_pixels(images: Sequence[ScoredImage]) -> PixelRanks | None:
    """Rank the pixels of a set of images.

    Returns:
        ``None`` where an image has no map, a defective one no mask, or no pixel is defective, or none defect-free.

    Raises:
        DataError: a map holds NaN; the message names its image.
    """
    if not has_pixels(images):
        return None
    maps = [_map_of(image) for image in images]
    positives, regions, region_images = _defective_pixels(images, maps)
    if len(positives) in (0, sum(m.size for m in maps)):
        return None
    scores, rank_of_pixel, counts = np.unique(positives, return_inverse=True, return_counts=True)
    above, at_least = count_greater(maps, scores)
    # Counting among all pixels and taking the defective ones away spares a copy of the others.
    at_least_positives = np.cumsum(counts[::-1])[::-1]
    n_positives = len(positives)
    ranks = Ranks(
        scores=scores[::-1],
        positives=counts[::-1],
        negatives_above=(above - at_least_positives + counts)[::-1],
        negatives_from=(at_least - at_least_positives)[::-1],
        n_positives=n_positives,
        n_negatives=sum(m.size for m in maps) - n_positives,
    )
    return PixelRanks(
        ranks=ranks,
        rank_of_pixel=len(scores) - 1 - rank_of_pixel,
        region_of_pixel=regions,
        region_areas=np.bincount(regions, minlength=len(region_images)),
        region_images=region_images,
    )


def _map_of(image: ScoredImage) -> NDArray[np.floating]:
    assert image.anomaly_map is not None, "pixel metrics need a map for every image"
    if np.isnan(image.anomaly_map.max()):
        raise DataError(f"the anomaly map of '{image.name}' holds NaN; expected numbers or infinities")
    return image.anomaly_map


def _defective_pixels(
    images: Sequence[ScoredImage], maps: Sequence[NDArray[np.floating]]
) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]]:
    scores = [np.empty(0, dtype=np.result_type(np.float32, *maps))]
    regions, region_images = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    n_regions = 0
    for index, (image, anomaly_map) in enumerate(zip(images, maps, strict=True)):
        if image.mask is None:
            continue
        positions, region_of_pixel = label_regions(image.mask)
        if positions.size:
            found = int(region_of_pixel.max()) + 1
            scores.append(anomaly_map.ravel()[positions])
            regions.append(region_of_pixel + n_regions)
            region_images.append(np.full(found, index))
            n_regions += found
    return np.concatenate(scores), np.concatenate(regions), np.concatenate(region_images)
