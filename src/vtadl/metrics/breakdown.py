"""Which defects are missed: the metrics by region, by image, by type of defect and by size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vtadl.metrics.aupimo import image_aupimo
from vtadl.metrics.aupro import region_aupro
from vtadl.metrics.curves import ranked_auroc
from vtadl.metrics.images import ScoredImage
from vtadl.metrics.pixels import PixelRanks
from vtadl.metrics.ranking import rank

SIZES = (64, 256, 1024, 4096, 16384)
"""Areas in pixels, squares of 8 to 128 a side, up to which a region counts into one size."""


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The connected defects of a set, image after image; one entry each."""

    images: NDArray[np.int64]
    """``(R,)`` index of the image in the set."""
    areas: NDArray[np.int64]
    """``(R,)`` pixels."""
    aupro: dict[str, NDArray[np.float64]]
    """``(R,)`` for each limit: area under the region's own overlap at the set's false positive rates."""
    recalls: NDArray[np.float64]
    """``(R,)`` share of the region's pixels at or above the operating threshold."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How well some regions are found; each weighs the same."""

    regions: int
    aupro: dict[str, float]
    """By limit, at the set's own false positive rates: the set's AUPRO is the mean over all of its regions."""
    recall: float
    """Mean share of a region that is at or above the operating threshold."""
    missed: int
    """Regions of which nothing is."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """How well some defective images are found."""

    images: int
    image_auroc: float | None
    """These images against all good ones; ``None`` without good ones."""
    aupimo: float | None
    """Mean over the images; ``None`` without good images or masks."""
    overlap: Overlap | None
    """Of their regions; ``None`` without any."""


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The same metrics for parts of a set."""

    regions: Regions | None
    by_image: dict[str, Group]
    by_defect: dict[str, Group]
    by_size: dict[str, Overlap]
    """By the regions' area in pixels, such as ``65-256``; only sizes that occur."""
    aupimo: float | None
    threshold: float | None
    """The operating threshold on pixels that recall is taken at."""


def break_down(
    images: Sequence[ScoredImage], pixels: PixelRanks | None, limits: Sequence[float], threshold: float | None
) -> Breakdown:
    """Take a set apart.

    Args:
        images: the whole set.
        pixels: of the same images; ``None`` where there are no pixel metrics.
        limits: of AUPRO.
        threshold: the operating threshold on pixels; ``None`` where there are no pixel metrics.
    """
    regions = None if pixels is None or threshold is None else _regions(pixels, limits, threshold)
    aupimo = image_aupimo(images) if pixels else {}
    bad = [n for n, i in enumerate(images) if not i.is_good]
    good = np.array([i.score for i in images if i.is_good], dtype=np.float64)

    def group(members: Sequence[int]) -> Group:
        inside = None if regions is None else np.flatnonzero(np.isin(regions.images, members))
        found = [aupimo[n] for n in members if n in aupimo]
        return Group(
            images=len(members),
            image_auroc=_auroc(good, [images[n].score for n in members]),
            aupimo=float(np.mean(found)) if found else None,
            overlap=None if regions is None or inside is None else _overlap(regions, inside),
        )

    return Breakdown(
        regions=regions,
        by_image={images[n].name: group([n]) for n in bad},
        by_defect={
            d: group([n for n in bad if images[n].defect == d]) for d in sorted({images[n].defect for n in bad})
        },
        by_size=_by_size(regions) if regions else {},
        aupimo=float(np.mean(list(aupimo.values()))) if aupimo else None,
        threshold=threshold,
    )


def _regions(pixels: PixelRanks, limits: Sequence[float], threshold: float) -> Regions:
    found = (pixels.ranks.scores >= threshold)[pixels.rank_of_pixel[pixels.counted]]
    return Regions(
        images=pixels.region_images,
        areas=pixels.region_areas,
        aupro={f"{limit:g}": region_aupro(pixels, limit) for limit in limits},
        recalls=np.bincount(pixels.region_of_counted, weights=found) / pixels.region_counts,
    )


def _overlap(regions: Regions, inside: NDArray[np.intp]) -> Overlap | None:
    if not len(inside):
        return None
    return Overlap(
        regions=len(inside),
        aupro={limit: float(values[inside].mean()) for limit, values in regions.aupro.items()},
        recall=float(regions.recalls[inside].mean()),
        missed=int(np.count_nonzero(regions.recalls[inside] == 0)),
    )


def _auroc(good: NDArray[np.float64], bad: Sequence[float]) -> float | None:
    return ranked_auroc(rank(good, np.array(bad, dtype=np.float64))) if len(good) and len(bad) else None


def _by_size(regions: Regions) -> dict[str, Overlap]:
    size = np.searchsorted(SIZES, regions.areas, side="left")
    groups = {}
    for n, name in enumerate(_size_names()):
        overlap = _overlap(regions, np.flatnonzero(size == n))
        if overlap:
            groups[name] = overlap
    return groups


def _size_names() -> list[str]:
    return [f"{low + 1}-{high}" for low, high in pairwise((0, *SIZES))] + [f"{SIZES[-1] + 1}-"]
