"""Embeddings that a training uses again and again: computed once, kept on their device if they fit, else on disk."""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vtadl.errors import TrainingError

KEPT_BYTES = 1_000_000_000
"""Embeddings kept in memory, at most: those of some 5,500 images of the default size."""


class CachedEmbeddings:
    """Embeddings of images, in any order, as often as one likes; stands where `CachedImages` can.

    Args:
        batches: embeddings, ``(B, D, H, W)`` float32 each.
        count: images in all batches together.
        kept_bytes: bound of what is kept in the memory of their device; more goes into a temporary file that no other
            process sees.

    Raises:
        TrainingError: that file finds no room.
    """

    def __init__(self, batches: Iterator[Tensor], count: int, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.kept: Tensor | None = None
        done = 0
        for batch in batches:
            if self.kept is None:
                self.kept = _room((count, *batch.shape[1:]), batch.device, kept_bytes)
            self.kept[done : done + len(batch)] = batch
            done += len(batch)
        assert done == count

    def __len__(self) -> int:
        return 0 if self.kept is None else len(self.kept)

    def batches(self, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """The embeddings of these indices, ``(B, D, H, W)`` a batch."""
        for batch in batches:
            assert self.kept is not None
            yield self.kept[list(batch)]


def _room(shape: tuple[int, ...], device: torch.device, kept_bytes: int) -> Tensor:
    if math.prod(shape) * torch.float32.itemsize <= kept_bytes:
        return torch.empty(shape, device=device)
    size = math.prod(shape) * torch.float32.itemsize
    try:
        with tempfile.TemporaryFile(prefix="vtadl-embeddings-") as file:  # the mapping keeps it until it is dropped
            # All its blocks now: a disk found full while a mapping is written ends the process by a signal.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
    except OSError as error:
        raise TrainingError(
            f"no {size / 1e9:.1f} GB for embeddings in '{tempfile.tempdir or 'the temporary folder'}': "
            f"{error.strerror}; make room there, or set TMPDIR to a folder that has it"
        ) from error
