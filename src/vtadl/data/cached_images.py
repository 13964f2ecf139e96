"""Images that are used again and again, as in training: decoded once and kept where they fit, else decoded again each
time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.data.loading import load_images
from vtadl.data.roi import blanked
from vtadl.data.training_images import TrainingImages
from vtadl.progress import Progress, silent

KEPT_BYTES = 1_000_000_000
"""Images kept in memory, at most: 635 of 512 x 512."""
LEVELS = 65_535
"""Images are used at 16 bits a channel whether kept or not, so that it makes no difference: half the size of floats,
and no coarser than the files."""


class CachedImages:
    """Images at one size, in any order, as often as one likes.

    Args:
        images: which ones.
        size: height and width in pixels that they are resized to.
        kept_bytes: bound of what is kept in memory.
        progress: shows the decoding of images that are kept.

    Raises:
        DataError: a file cannot be read.
    """

    def __init__(
        self,
        images: TrainingImages,
        size: tuple[int, int],
        *,
        kept_bytes: int = KEPT_BYTES,
        progress: Progress = silent,
    ) -> None:
        self.images, self.size = images, size
        self.kept: NDArray[np.uint16] | None = None
        self._there: tuple[Tensor, Tensor] | None = None
        if len(images) * 3 * size[0] * size[1] * np.dtype(np.uint16).itemsize <= kept_bytes:
            self.kept = self._decoded(progress)

    def __len__(self) -> int:
        return len(self.images)

    def move_to(self, device: torch.device) -> None:
        """Give batches on an accelerator, of images that stay there if they are kept at all.

        Making floats of 8 images of 512 x 512 takes a core 5 ms, and a GPU no time to speak of.
        """
        if device.type == "cpu" or self.kept is None:
            self._there = None
        else:
            # Few operations know unsigned 16-bit integers, so the bits travel as signed ones.
            signed = torch.from_numpy(self.kept.view(np.int16))
            self._there = signed.to(device), torch.tensor(float(LEVELS), device=device)

    def batches(self, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """The images of these indices, ``(B, 3, *size)`` float32 in [0, 1] a batch.

        Args:
            batches: indices; all batches but the last are of one length, and none is longer.
        """
        if self._there is not None:
            for batch in batches:
                yield _floats_there(*self._there, batch)
        elif self.kept is not None:
            for batch in batches:
                yield _floats(self.kept[list(batch)])
        elif batches:
            images, paths = self.images, [self.images.paths[index] for batch in batches for index in batch]
            for one in load_images(paths, self.size, batch_size=len(batches[0]), value_range=images.value_range):
                yield _floats(_levels(blanked(one.images, images.roi_mask)))

    def _decoded(self, progress: Progress) -> NDArray[np.uint16]:
        kept, done = np.empty((len(self), 3, *self.size), np.uint16), 0
        with progress("reading", len(self)) as advance:
            for images_B3HW in self.images.batches(self.size):
                kept[done : done + len(images_B3HW)] = _levels(images_B3HW)
                done += len(images_B3HW)
                advance(len(images_B3HW))
        return kept


def _levels(images: Tensor) -> NDArray[np.uint16]:
    return np.rint(images.numpy() * np.float32(LEVELS)).astype(np.uint16)


def _floats_there(signed_I3HW: Tensor, levels: Tensor, batch: Sequence[int]) -> Tensor:
    """`_floats` of some images on their device, the same to the bit."""
    chosen = signed_I3HW[torch.tensor(batch, device=signed_I3HW.device)]
    # By a tensor: dividing by a plain number, a GPU multiplies by its inverse, which rounds differently.
    return (chosen.int() & LEVELS).float() / levels


def _floats(levels: NDArray[np.uint16]) -> Tensor:
    return torch.from_numpy(np.divide(levels, LEVELS, dtype=np.float32))
