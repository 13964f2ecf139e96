"""The same metrics in memory that does not grow with the number of images, and from shards in any order.

Scores are counted by the leading bits of their order-preserving float32 key. All sums are of integers (a region's
overlap in units of 2^-36 of a region), so shards add up to the same bytes in any order. What the dropped bits leave
open is bounded exactly: within a bin, the positives may all come before the negatives, or all after.
"""

import struct
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vtadl.errors import ConfigError, DataError
from vtadl.metrics.bounds import Bounded, bounded_aupro, bounded_auroc, bounded_average_precision, bounded_f1_max
from vtadl.metrics.counting import order_keys
from vtadl.metrics.evaluation import LIMITS
from vtadl.metrics.images import ScoredImage, check, has_pixels
from vtadl.metrics.ranking import Ranks
from vtadl.metrics.regions import label_regions

BITS = 24
"""Sign, exponent and 15 bits of the fraction: scores closer than 0.003 % may share a bin."""
REGION_BITS = 36
_MOST_REGIONS = 1 << (62 - REGION_BITS)
_MAGIC = b"vtadl counts 1\n"
_HEADER = struct.Struct("<15sB?q")


class StreamingEvaluation:
    """Takes image after image; `metrics` may be asked for at any time.

    Memory is reserved for ``2 ** bits`` bins but used only where scores fall: some ten MB for usual scores, and never
    more than ``40 * 2 ** bits`` bytes.
    """

    def __init__(self, bits: int = BITS) -> None:
        """Start empty.

        Args:
            bits: 16 to 28, the leading bits of a score that are told apart; more are exacter and take more memory.
        """
        if not 16 <= bits <= 28:
            raise ConfigError(f"bits must be in 16..28; got {bits}")
        self.bits = bits
        self.n_regions = 0
        self.has_pixels = True
        # Good and defective images; defect-free and defective pixels; overlap gained. Untouched pages cost nothing.
        self._counts = [np.zeros(1 << bits, dtype=np.int64) for _ in range(5)]

    def update(self, image: ScoredImage) -> None:
        """Count one image.

        Raises:
            DataError: what `evaluate` refuses too, or more than 67 million regions.
        """
        check([image])
        if image.anomaly_map is not None and np.isnan(image.anomaly_map.max()):
            raise DataError(f"the anomaly map of '{image.name}' holds NaN; expected numbers or infinities")
        if image.anomaly_map is None or not has_pixels([image]):
            self.has_pixels = False
        else:
            self._add_pixels(self._bins(image.anomaly_map.ravel()), image.mask)
        self._counts[0 if image.is_good else 1][self._bins(np.array([image.score]))] += 1

    def merge(self, other: Self) -> None:
        """Add what another one counted: the order of shards makes no difference, to the last byte."""
        if other.bits != self.bits:
            raise DataError(f"cannot merge counts of {self.bits} and of {other.bits} bits; count both with the same")
        self._add_regions(other.n_regions)
        self.has_pixels &= other.has_pixels
        for mine, theirs in zip(self._counts, other._counts, strict=True):
            occupied = np.flatnonzero(theirs)
            mine[occupied] += theirs[occupied]

    def to_bytes(self) -> bytes:
        """The counts in a form that depends on them alone, for a file or another machine."""
        parts = [_HEADER.pack(_MAGIC, self.bits, self.has_pixels, self.n_regions)]
        for counts in self._counts:
            occupied = np.flatnonzero(counts)
            parts += [struct.pack("<q", len(occupied)), occupied.astype("<u4").tobytes()]
            parts.append(counts[occupied].astype("<i8").tobytes())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            DataError: anything else.
        """
        try:
            return cls._read(data)
        except (struct.error, ValueError, IndexError) as error:
            raise DataError(
                f"not the counts of a streaming evaluation, or damaged ({error}); write them again"
            ) from error

    def metrics(self, limits: tuple[float, ...] = LIMITS) -> dict[str, Bounded | None]:
        """Every metric with its bounds; ``None`` where it cannot be computed."""
        good, bad, defect_free, defective, overlap = self._counts
        found = _ranked_metrics("image", _ranks(good, bad))
        pixels = _ranks(defect_free, defective) if self.has_pixels else None
        found |= _ranked_metrics("pixel", pixels)
        for limit in limits:
            name = f"pixel_AUPRO@{limit:g}"
            gained = overlap[pixels.scores] / (self.n_regions << REGION_BITS) if pixels else None
            found[name] = bounded_aupro(pixels, gained, limit) if pixels and gained is not None else None
        return found

    @classmethod
    def _read(cls, data: bytes) -> Self:
        magic, bits, with_pixels, n_regions = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError("wrong first bytes")
        self, at = cls(bits), _HEADER.size
        self.has_pixels, self.n_regions = with_pixels, n_regions
        for counts in self._counts:
            (n,) = struct.unpack_from("<q", data, at)
            occupied = np.frombuffer(data, dtype="<u4", count=n, offset=at + 8)
            counts[occupied] = np.frombuffer(data, dtype="<i8", count=n, offset=at + 8 + 4 * n)
            at += 8 + 12 * n
        if at != len(data):
            raise ValueError(f"{len(data)} bytes where {at} were expected")
        return self

    def _add_pixels(self, bins: NDArray[np.intp], mask: NDArray[np.bool_] | None) -> None:
        _, _, defect_free, defective, overlap = self._counts
        positions, regions = label_regions(mask if mask is not None else np.zeros((0, 0), dtype=bool))
        self._add_regions(len(np.unique(regions)))
        np.add.at(defect_free, bins, 1)
        bins = bins[positions]
        np.subtract.at(defect_free, bins, 1)
        np.add.at(defective, bins, 1)
        order, gained = _overlap_gained(bins, regions)
        np.add.at(overlap, bins[order], gained)

    def _bins(self, scores: NDArray[np.floating]) -> NDArray[np.intp]:
        with np.errstate(over="ignore", under="ignore"):  # rounding to float32 keeps the order, and so do its limits
            keys = order_keys(scores.astype(np.float32))
        return (keys >> np.uint32(32 - self.bits)).astype(np.intp)

    def _add_regions(self, n: int) -> None:
        if self.n_regions + n > _MOST_REGIONS:
            raise DataError(f"more than {_MOST_REGIONS} regions; their overlap could no longer be summed exactly")
        self.n_regions += n


def _overlap_gained(bins: NDArray[np.intp], regions: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The order of pixels from high scores to low within each region, and what each adds to its region's overlap.

    The first k pixels of a region of A add up to k / A, rounded to fixed point: never off by more than half a unit,
    and exactly one region in all.
    """
    order = np.lexsort((-bins, regions))
    areas = np.bincount(regions)
    area = areas[regions[order]]
    first = np.concatenate([[0], np.cumsum(areas)[:-1]])[regions[order]]
    k = np.arange(len(order)) - first
    return order, _fixed((k + 1) / area) - _fixed(k / area)


def _fixed(share: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(np.ldexp(share, REGION_BITS)).astype(np.int64)


def _ranks(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> Ranks | None:
    """The bins that hold positives, in the form of distinct scores; ``None`` where one kind is missing."""
    occupied = np.union1d(np.flatnonzero(negatives), np.flatnonzero(positives))[::-1]
    in_bin, at_least = negatives[occupied], np.cumsum(negatives[occupied])
    defective = positives[occupied] > 0
    n_negatives, n_positives = int(in_bin.sum()), int(positives[occupied].sum())
    if not n_negatives or not n_positives:
        return None
    return Ranks(
        scores=occupied[defective],
        positives=positives[occupied][defective],
        negatives_above=(at_least - in_bin)[defective],
        negatives_from=at_least[defective],
        n_positives=n_positives,
        n_negatives=n_negatives,
    )


def _ranked_metrics(level: str, bins: Ranks | None) -> dict[str, Bounded | None]:
    metrics = {"AUROC": bounded_auroc, "AP": bounded_average_precision, "F1Max": bounded_f1_max}
    return {f"{level}_{name}": metric(bins) if bins else None for name, metric in metrics.items()}
