"""What a layout gives: the images of one product, what each is for, and where its mask is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vtadl.data.hashing import content_hash
from vtadl.data.walk import LeftOut

GOOD = "good"
GOOD_NAMES = frozenset(("good", "goods", "ok", "normal", "pass", "passed", "defect_free", "defect-free"))
"""What people call good parts, in lower case: never a type of defect."""

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image, what it is for, and what it shows."""

    path: Path
    split: Split
    label: str
    """``good`` or the type of defect."""
    mask: Path | None = None
    """Where the mask of a defective image is, or should be if it is missing: a file, a folder of several, or a JSON of
    polygons; ``None`` in sets without masks."""
    condition: str | None = field(default=None, compare=False)
    """Lighting or camera, where the layout's names say it, such as ``overexposed`` or ``C3``."""

    @cached_property
    def sha256(self) -> str:
        """Content hash of the image, in hexadecimal; read once.

        Raises:
            DataError: the file cannot be read.
        """
        return content_hash(self.path)

    @property
    def is_defective(self) -> bool:
        """Whether the image shows anything but a good part."""
        return self.label != GOOD


@dataclass(frozen=True, kw_only=True)
class Category:
    """The images of one product, in natural order of their paths (``2.png`` before ``10.png``)."""

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    own_split: bool = True
    """Whether the layout itself says which good images are for tests."""
    mask_folder: Path | None = field(default=None, compare=False)
    """The folder in which it keeps nothing but masks."""
    class_folders: tuple[Path, ...] = field(default=(), compare=False)
    """Folders of which each innermost one is a class, and should hold images."""
    known: frozenset[Path] = field(default=frozenset(), compare=False)
    """Files that belong to the layout and are no samples, which the notes speak of where they matter."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What to know of how the folder was read, a line each."""
    roi_mask: NDArray[np.bool_] | None = field(default=None, compare=False)
    """Region of interest (`vtadl.data.roi`); ``None``: all of every image counts."""
    left_out: LeftOut = field(default_factory=LeftOut, compare=False)
    """Files of the folder that are neither samples nor masks."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return folder_name(self.root)

    @property
    def train(self) -> tuple[Sample, ...]:
        """Good images to learn from."""
        return self._of("train")

    @property
    def validation(self) -> tuple[Sample, ...]:
        """Good images that the layout itself holds out of training."""
        return self._of("validation")

    @property
    def test(self) -> tuple[Sample, ...]:
        """Good and defective images for evaluation alone."""
        return self._of("test")

    def relative(self, path: Path) -> str:
        """A path as messages and tables show it: from the folder on, or whole where it lies elsewhere."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def remarks(self) -> Iterable[str]:
        """The notes, and a line on files that were left out, if any were."""
        yield from self.notes
        if line := self.left_out.line():
            yield line

    def _of(self, split: Split) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.split == split)


def folder_name(root: Path) -> str:
    """The name of a folder, of the working one too."""
    return root.name if root.name not in ("", "..") else root.resolve().name
