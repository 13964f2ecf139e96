"""The one way in which images, anomaly maps and masks are each resized."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_image(image: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize to ``(height, width)`` by bilinear interpolation, antialiased when it shrinks.

    In float32 whatever the image's depth: Pillow would round eight-bit images between its two passes, which an exported
    model cannot repeat.

    Args:
        image: ``(H, W, 3)``, uint8 or uint16.
        size: height and width in pixels.

    Returns:
        ``(3, height, width)`` in [0, 1].
    """
    top = np.float32(np.iinfo(image.dtype).max)
    resized = np.empty((3, *size), np.float32)
    # Of a grey image, one channel is all there is to know.
    channels = 1 if is_grey(image) else 3
    for channel in range(channels):
        np.divide(resize_map(image[:, :, channel], size), top, out=resized[channel])
    resized[channels:] = resized[0]
    return resized


def is_grey(image: NDArray[Any]) -> bool:
    """Whether the three channels of ``(H, W, 3)`` are the same."""
    # Few rows tell almost every image of colours, before all are compared.
    return all(np.array_equal(rows[:, :, 0], rows[:, :, other]) for rows in (image[::16], image) for other in (1, 2))


def resize_map(anomaly_map: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize one channel by bilinear interpolation between pixel centres, antialiased when it shrinks.

    Args:
        anomaly_map: ``(H, W)``, any real type; computed in float32.
        size: height and width in pixels.

    Returns:
        ``(height, width)``, within the range of the input.
    """
    image = Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32))
    return np.array(image.resize(size[::-1], Image.Resampling.BILINEAR))


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask to ``(height, width)``: each pixel takes the value of the one under its centre; never dilated."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, mask.shape, strict=True))
    resized: NDArray[np.bool_] = mask[rows[:, None], columns]
    return resized
