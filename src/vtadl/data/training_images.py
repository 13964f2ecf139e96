"""The good images of a training: in the order of their content, each hashed once, with what counts of them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vtadl.data.layouts import Category, Sample
from vtadl.data.loading import fitting_batch, load_images
from vtadl.data.roi import blanked
from vtadl.data.splits import training_split
from vtadl.data.value_range import Range

BATCH = 16
"""Images held at a time, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingImages:
    """Good images in an order that their content decides, so that names and places of the files change nothing."""

    paths: tuple[Path, ...] = ()
    sha256: tuple[str, ...] = ()
    """Content hash of each image, ascending."""
    roi_mask: NDArray[np.bool_] | None = None
    """Region of interest (`vtadl.data.roi`), outside which images are blanked."""
    value_range: Range | None = None
    """Of 16-bit files (`vtadl.data.value_range`)."""

    @classmethod
    def of(cls, samples: Sequence[Sample], roi_mask: NDArray[np.bool_] | None = None) -> Self:
        """The images of some samples.

        Raises:
            DataError: a file cannot be read.
        """
        ordered = sorted(samples, key=lambda sample: (sample.sha256, sample.path))
        return cls(
            paths=tuple(sample.path for sample in ordered),
            sha256=tuple(sample.sha256 for sample in ordered),
            roi_mask=roi_mask,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice) -> Self:
        return replace(self, paths=self.paths[part], sha256=self.sha256[part])

    def sample(self, most: int) -> Self:
        """At most so many, at even steps from the first on; all where there are no more."""
        return self[:: max(-(-len(self) // most), 1)]

    def batches(self, size: tuple[int, int], most: int = BATCH) -> Iterator[Tensor]:
        """All images in their order, ``(B, 3, *size)`` float32 in [0, 1] at a time; decoded again at each call.

        Args:
            size: height and width.
            most: B, at most; fewer of very large images.

        Raises:
            DataError: a file cannot be read.
        """
        batch_size = fitting_batch(size, most)
        for batch in load_images(self.paths, size, batch_size=batch_size, value_range=self.value_range):
            yield blanked(batch.images, self.roi_mask)


@dataclass(frozen=True, kw_only=True)
class GoodImages:
    """The good images of a category, shared out."""

    category: str
    layout: str
    kept: TrainingImages
    """To learn from."""
    held_out: TrainingImages
    """To calibrate colours and thresholds, and nothing else."""

    def with_range(self, value_range: Range | None) -> Self:
        """The same images, their 16-bit files read in a range."""
        kept, held_out = (replace(part, value_range=value_range) for part in (self.kept, self.held_out))
        return replace(self, kept=kept, held_out=held_out)

    @property
    def sha256(self) -> str:
        """Of the sorted content hashes of all of them: equal for equal data, whatever its names."""
        return hashlib.sha256("".join(sorted(self.kept.sha256 + self.held_out.sha256)).encode()).hexdigest()


def good_images(category: Category, skip: frozenset[Sample] = frozenset()) -> GoodImages:
    """The images to train on, and those held out (`vtadl.data.splits`); samples to skip cannot be read.

    Raises:
        DataError: the category has no training images.
    """
    kept, held_out = (
        TrainingImages.of([sample for sample in part if sample not in skip], category.roi_mask)
        for part in training_split(category)
    )
    return GoodImages(category=category.name, layout=category.layout, kept=kept, held_out=held_out)
