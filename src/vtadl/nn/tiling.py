"""A convolutional network over a large image, tile by tile: the memory of one tile, the result of the whole."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor


def tiled(
    network: Callable[[Tensor], Sequence[Tensor]],
    x_BCHW: Tensor,
    *,
    tile: int,
    halo: int,
    strides: Sequence[int],
) -> list[Tensor]:
    """What ``network`` gives for the whole, from overlapping tiles, without a seam.

    Each tile is seen with a halo of its context, which is cut off afterwards. With a halo as wide as the
    network's receptive field reaches, no value depends on where the cuts are; at the border of the whole the network
    does what it always does there.

    Args:
        network: ``(B, C, H, W)`` to some feature maps ``(B, D, H / stride, W / stride)``.
        x_BCHW: the whole; its sides are multiples of every stride.
        tile: side of a tile without halo, a multiple of every stride.
        halo: a multiple of every stride.
        strides: of the feature maps.

    Returns:
        The feature maps of the whole.
    """
    height, width = x_BCHW.shape[-2:]
    wholes: list[Tensor] = []
    for top, bottom in _cuts(height, tile):
        for left, right in _cuts(width, tile):
            above, before = max(top - halo, 0), max(left - halo, 0)
            parts = network(x_BCHW[..., above : bottom + halo, before : right + halo])
            if not wholes:
                wholes = [
                    part.new_empty(*part.shape[:2], height // stride, width // stride)
                    for part, stride in zip(parts, strides, strict=True)
                ]
            for whole, part, stride in zip(wholes, parts, strides, strict=True):
                rows = slice((top - above) // stride, (bottom - above) // stride)
                columns = slice((left - before) // stride, (right - before) // stride)
                whole[..., top // stride : bottom // stride, left // stride : right // stride] = part[
                    ..., rows, columns
                ]
    return wholes


def _cuts(side: int, tile: int) -> Iterator[tuple[int, int]]:
    for start in range(0, side, tile):
        yield start, min(start + tile, side)
