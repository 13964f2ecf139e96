"""Images as batches of tensors, decoded by threads ahead of whoever consumes them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.data.images import read_image
from vtadl.data.resizing import resize_image
from vtadl.data.value_range import Range, in_range
from vtadl.errors import DataError

BATCH_PIXELS = 2**23
"""In a batch of very large images, at most: 100 MB, and decoding holds two more."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some images at the size a model wants, and what they were before."""

    indices: list[int]
    """Where each image stands in the list of paths."""
    images: Tensor
    """``(B, 3, H, W)`` float32 in [0, 1]."""
    sizes: list[tuple[int, int]]
    """Height and width of each image as decoded."""
    originals: list[NDArray[Any]] | None = None
    """Each image as decoded, ``(H, W, 3)`` uint8 or uint16, if asked for."""


class _Decoded(NamedTuple):
    image: NDArray[np.float32]
    size: tuple[int, int]
    original: NDArray[Any] | None


def load_images(
    paths: Sequence[Path],
    size: tuple[int, int],
    *,
    batch_size: int,
    workers: int = 2,
    on_error: Callable[[Path, DataError], None] | None = None,
    keep_originals: bool = False,
    value_range: Range | None = None,
) -> Iterator[Batch]:
    """Decode and resize images in the order of ``paths``, ahead of the consumer by two batches at most.

    Args:
        paths: image files.
        size: height and width that every image is resized to.
        batch_size: images a batch; the last may have fewer.
        workers: threads that decode. They end when the iterator is exhausted, closed or dropped.
        on_error: called, in order and in the consumer's thread, with each file that cannot be used, which is then
            left out of the batches; without it the first such file raises.
        keep_originals: also give the decoded images, for overlays.
        value_range: of 16-bit files, stretched to all of 16 bits (`vtadl.data.value_range`).

    Raises:
        DataError: a file cannot be used and there is no ``on_error``.
    """
    executor = ThreadPoolExecutor(workers, thread_name_prefix="vtadl-decode")
    remaining = iter(enumerate(paths))
    waiting: deque[tuple[int, Future[_Decoded]]] = deque()
    ready: list[tuple[int, _Decoded]] = []

    def submit(count: int) -> None:
        for index, path in islice(remaining, count):
            waiting.append((index, executor.submit(_decode, path, size, keep_originals, value_range)))

    try:
        submit(2 * batch_size)
        while waiting:
            index, future = waiting.popleft()
            submit(1)
            try:
                ready.append((index, future.result()))
            except DataError as error:
                if on_error is None:
                    raise
                on_error(paths[index], error)
            if ready and (len(ready) == batch_size or not waiting):
                yield _batch(ready, keep_originals)
                ready = []
    finally:
        executor.shutdown(cancel_futures=True)


def fitting_batch(size: tuple[int, int], most: int) -> int:
    """How many images of a height and width to hold at once: ``most``, or fewer very large ones."""
    return max(1, min(most, BATCH_PIXELS // (size[0] * size[1])))


def _decode(path: Path, size: tuple[int, int], keep_original: bool, value_range: Range | None) -> _Decoded:
    original = in_range(read_image(path), value_range)
    height, width, _ = original.shape
    return _Decoded(resize_image(original, size), (height, width), original if keep_original else None)


def _batch(decoded: Sequence[tuple[int, _Decoded]], keep_originals: bool) -> Batch:
    return Batch(
        indices=[index for index, _ in decoded],
        images=torch.from_numpy(np.stack([one.image for _, one in decoded])),
        sizes=[one.size for _, one in decoded],
        originals=[one.original for _, one in decoded if one.original is not None] if keep_originals else None,
    )
