"""Embeddings that a training uses again and again: computed once, in memory where they fit, else on disk."""

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT_BYTES = 1_000_000_000
"""Embeddings kept in memory, at most: those of some 8,000 images of the default size."""


class RepeatedEmbeddings:
    """Embeddings of images, in any order, as often as one likes; stands where `vtadl.data.repeated.RepeatedImages` can.

    Args:
        batches: embeddings, ``(B, D, H, W)`` float32 each.
        count: images in all batches together.
        kept_bytes: bound of what is kept in memory; more goes into a temporary file that no other process sees.
    """

    def __init__(self, batches: Iterator[Tensor], count: int, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.kept: NDArray[np.float32] | None = None
        done = 0
        for batch in batches:
            values = batch.cpu().numpy()
            if self.kept is None:
                self.kept = _room((count, *values.shape[1:]), kept_bytes)
            self.kept[done : done + len(values)] = values
            done += len(values)
        assert done == count

    def __len__(self) -> int:
        return 0 if self.kept is None else len(self.kept)

    def batches(self, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """The embeddings of these indices, ``(B, D, H, W)`` a batch."""
        for batch in batches:
            assert self.kept is not None
            yield torch.from_numpy(self.kept[list(batch)])


def _room(shape: tuple[int, ...], kept_bytes: int) -> NDArray[np.float32]:
    if np.prod(shape, dtype=np.int64) * np.dtype(np.float32).itemsize <= kept_bytes:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="vtadl-embeddings-") as file:  # the mapping keeps it until it is dropped
        return np.memmap(file, np.float32, "w+", shape=shape)
