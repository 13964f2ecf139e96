"""Reading every image and mask of some samples: what cannot be used, and what is doubtful to learn from."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vtadl.data.decoding import wide_by_high
from vtadl.data.images import is_turned, read_image
from vtadl.data.layouts import Category, Sample, empty_folders
from vtadl.data.loco_regions import config_of, read_regions
from vtadl.data.mask_files import read_mask_values
from vtadl.data.masks import MaskSummary, summarize_mask
from vtadl.data.resizing import is_grey
from vtadl.errors import DataError
from vtadl.progress import Progress, silent

_WORKERS = 2
FLAT_LEVELS = 4
"""What the noise of a covered lens leaves."""
_UNLIKE = 0.25
"""At most such a share of the good images may be unlike the rest, to be called so: what varies is not."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found of one sample."""

    size: tuple[int, int]
    bits: int
    digest: str
    pixels: str
    """Hash of the decoded pixels."""
    flat: bool
    """Whether all pixels are within `FLAT_LEVELS` of one colour."""
    grey: bool
    mask: MaskSummary | None

    @property
    def empty_mask(self) -> bool:
        """Whether it has a mask that marks nothing."""
        return self.mask is not None and self.mask.share == 0


def look_over(
    samples: Sequence[Sample], *, progress: Progress = silent
) -> tuple[list[tuple[Sample, DataError]], list[str]]:
    """The samples that cannot be used, and why: every image is decoded, and every mask held against its image. And
    what is doubtful about the good images to learn from, a line each.
    """
    results = inspect_all(samples, progress)
    good = [(s, found) for s, found in results if isinstance(found, Inspection) and s.split != "test"]
    return [(s, found) for s, found in results if isinstance(found, DataError)], list(alike(good))


def stop_on_problems(
    samples: Sequence[Sample], more: Sequence[DataError] = (), warn: Callable[[str], None] | None = None
) -> None:
    """Read all files first, so that a bad one is known before any long work; ``more`` are problems known already, and
    ``warn`` gets each line about good images that are doubtful.

    Raises:
        DataError: the first bad file, and how many more there are.
    """
    found, doubtful = look_over(samples)
    errors = [*more, *(error for _, error in found)]
    if warn is not None:
        for line in doubtful:
            warn(line)
    if errors:
        rest = f" (and {len(errors) - 1} more: vtadl data check lists them)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{rest}")


def empty_classes(category: Category) -> list[DataError]:
    """One error for each folder of the layout that should hold images and holds none."""
    return [
        DataError(f"'{folder}' holds no images; put some there or remove the folder")
        for folder in empty_folders(category)
    ]


def inspect_all(samples: Sequence[Sample], progress: Progress) -> list[tuple[Sample, Inspection | DataError]]:
    """Decode every image and hold every mask against its image; a sample that cannot be used has its error."""
    return list(zip(samples, _for_each(_inspect, samples, progress), strict=True))


def _inspect(sample: Sample) -> Inspection:
    image = read_image(sample.path)  # The pixels go at once: thousands of images would not fit in memory.
    return Inspection(
        size=(image.shape[0], image.shape[1]),
        bits=8 * image.dtype.itemsize,
        digest=sample.sha256,
        pixels=hashlib.sha256(image.tobytes() + str(image.shape).encode()).hexdigest(),
        flat=all(int(np.ptp(image[:, :, channel])) <= FLAT_LEVELS for channel in range(3)),
        grey=is_grey(image),
        mask=_mask(sample, (image.shape[0], image.shape[1])),
    )


def _mask(sample: Sample, size: tuple[int, int]) -> MaskSummary | None:
    if sample.mask is None:
        return None
    if not sample.mask.exists():
        raise DataError(
            f"defective image '{sample.path}' has no mask; expected '{sample.mask}'{_nearly(sample)}: "
            "add it, or take the image out"
        )
    values = read_mask_values(sample.mask, size, sample.path)
    config = config_of(sample.mask)
    if config is not None:
        read_regions(sample.mask, config)
    return summarize_mask(sample.mask, values, turned=is_turned(sample.path))


def _nearly(sample: Sample) -> str:
    """A file in the place of a missing mask that is named much like it."""
    assert sample.mask is not None, "asked of a sample that should have a mask"
    folder, stem = sample.mask.parent, sample.path.stem
    names = sorted(path.name for path in folder.iterdir() if path.name.startswith(stem)) if folder.is_dir() else []
    others = [name for name in names if not name[len(stem) : len(stem) + 1].isalnum()]
    return f" (there is '{others[0]}')" if others else ""


def alike(good: Sequence[tuple[Sample, Inspection]]) -> Iterator[str]:
    """Good images of which nothing can be learned."""
    flat = [sample for sample, found in good if found.flat]
    if flat:
        yield (
            f"{len(flat)} of {len(good)} good images are of one colour, '{flat[0].path}' for one, as a covered lens or "
            "a failed exposure leaves them: take them out"
        )
    different = len({found.pixels for _, found in good})
    if len(good) > 2 and different <= len(good) // 2:
        yield (
            f"only {different} of {len(good)} good images differ: natural variation cannot be learned from copies, and "
            "any other part will look defective; give images of different parts"
        )
    for trait in _TRAITS:
        (usual, _), *_ = Counter(trait(found) for _, found in good).most_common(1) or [("", 0)]
        unlike = [(sample, found) for sample, found in good if trait(found) != usual]
        if 0 < len(unlike) <= _UNLIKE * len(good):
            sample, found = unlike[0]
            yield (
                f"{len(unlike)} of {len(good)} good images are {trait(found)}, '{sample.path}' for one, and "
                f"most are {usual}: take them out, if no such parts will come"
            )


_TRAITS: tuple[Callable[[Inspection], str], ...] = (
    lambda found: wide_by_high(found.size[::-1]),
    lambda found: f"of {found.bits} bits",
    lambda found: "grey" if found.grey else "in colour",
)


def _for_each(function: Callable[[Sample], T], samples: Sequence[Sample], progress: Progress) -> list[T | DataError]:
    def result(sample: Sample) -> T | DataError:
        try:
            return function(sample)
        except DataError as error:
            return error

    results = []
    executor = ThreadPoolExecutor(_WORKERS)
    try:
        with progress("checking", len(samples)) as advance:
            for one in executor.map(result, samples):
                results.append(one)
                advance(1)
    finally:
        executor.shutdown(cancel_futures=True)
    return results
