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
    image_of_pixel: NDArray[np.int64]
    """``(P,)`` the index of the image that each lies in."""
    counted: NDArray[np.int64]
    """``(Q,)`` the pixels, by their place in `rank_of_pixel`, that count towards covering a region: all of them, once
    for each region they are in; of a region that saturates, those of its highest scores."""
    region_of_counted: NDArray[np.int64]
    """``(Q,)`` the region of each, numbered through the whole set."""
    region_counts: NDArray[np.int64]
    """``(R,)`` pixels that count towards each region."""
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
    positives, image_of_pixel = _defective_pixels(images, maps)
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
        image_of_pixel=image_of_pixel,
        **_regions(images, positives),
    )


def _map_of(image: ScoredImage) -> NDArray[np.floating]:
    assert image.anomaly_map is not None, "pixel metrics need a map for every image"
    if np.isnan(image.anomaly_map.max()):
        raise DataError(f"the anomaly map of '{image.name}' holds NaN; expected numbers or infinities")
    return image.anomaly_map


def _defective_pixels(
    images: Sequence[ScoredImage], maps: Sequence[NDArray[np.floating]]
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    scores = [np.empty(0, dtype=np.result_type(np.float32, *maps))]
    members = [np.empty(0, dtype=np.int64)]
    for index, (image, anomaly_map) in enumerate(zip(images, maps, strict=True)):
        if image.mask is not None:
            scores.append(anomaly_map[image.mask])
            members.append(np.full(len(scores[-1]), index))
    return np.concatenate(scores), np.concatenate(members)


def _regions(images: Sequence[ScoredImage], scores: NDArray[np.floating]) -> dict[str, NDArray[np.int64]]:
    """The fields of `PixelRanks` that tell of regions.

    Args:
        images: the whole set.
        scores: ``(P,)`` of the defective pixels, image after image in reading order.
    """
    nothing = np.empty(0, dtype=np.int64)
    counted, region_of_counted, areas, region_images = [nothing], [nothing], [nothing], [nothing]
    n_pixels = n_regions = 0
    for index, image in enumerate(images):
        if image.mask is None:
            continue
        n_own = int(np.count_nonzero(image.mask))
        own, regions, sizes = _regions_of(image, scores[n_pixels : n_pixels + n_own])
        counted.append(own + n_pixels)
        region_of_counted.append(regions + n_regions)
        areas.append(sizes)
        region_images.append(np.full(len(sizes), index))
        n_pixels += n_own
        n_regions += len(sizes)
    numbers = np.concatenate(region_of_counted)
    return {
        "counted": np.concatenate(counted),
        "region_of_counted": numbers,
        "region_counts": np.bincount(numbers, minlength=n_regions),
        "region_areas": np.concatenate(areas),
        "region_images": np.concatenate(region_images),
    }


def _regions_of(
    image: ScoredImage, scores: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of one image, the pixels that count, by their place among its defective ones; the region of each; and areas."""
    assert image.mask is not None, "only images with a mask have regions"
    if image.regions is None:
        _, region_of_pixel = label_regions(image.mask)
        return np.arange(len(region_of_pixel)), region_of_pixel, np.bincount(region_of_pixel)
    numbers = np.cumsum(image.mask.ravel()) - 1
    places = [numbers[region.mask.ravel()] for region in image.regions]
    counted = []
    for own, region in zip(places, image.regions, strict=True):
        most = max(round(region.saturation * len(own)), 1)
        highest = len(own) - most
        counted.append(own[np.argpartition(scores[own], highest)[highest:]] if highest > 0 else own)
    nothing = np.empty(0, dtype=np.int64)
    return (
        np.concatenate([nothing, *counted]),
        np.repeat(np.arange(len(counted)), [len(own) for own in counted]),
        np.array([len(own) for own in places], dtype=np.int64),
    )
