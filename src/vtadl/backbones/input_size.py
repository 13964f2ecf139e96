"""How large the images are that a network over a frozen backbone sees: a square, or an oblong of about the same
area.
"""

import math
from dataclasses import dataclass

from vtadl.config.schema import SQUARE, BackboneConfig
from vtadl.errors import ConfigError

MIN_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What a backbone makes of an image, known without its weights."""

    width: int
    """Dimensions of an embedding."""
    stride: int
    """Pixels along a side that make one cell of its grid."""
    multiple: int
    """Images must have sides that are multiples of this."""


def input_size(config: BackboneConfig, multiple: int, stride: int) -> tuple[int, int]:
    """Height and width in pixels, for a backbone of this multiple and stride (`Geometry`).

    Without ``model.aspect``, or with 1, the square of ``model.image_size`` as it is. Else each side is rounded to what
    the backbone takes, and what ``model.pooling``, where there is one, averages into patches.
    """
    if config.aspect is None or config.aspect == SQUARE:
        return config.image_size, config.image_size
    cells = getattr(config, "pooling", 1)
    root = math.sqrt(config.aspect)
    return _rounded((config.image_size / root, config.image_size * root), math.lcm(multiple, stride * cells))


def _rounded(sides: tuple[float, float], step: int) -> tuple[int, int]:
    least = -(-MIN_SIDE // step)
    height, width = (max(round(side / step), least) * step for side in sides)
    return height, width


def grid_shape(config: BackboneConfig, multiple: int, stride: int) -> tuple[int, int]:
    """Rows and columns of the backbone's grid; arguments as in `input_size`.

    Raises:
        ConfigError: a square that is not what the backbone takes, or too small for a grid.
    """
    height, width = input_size(config, multiple, stride)
    if min(height, width) < MIN_SIDE or height % multiple or width % multiple:
        least = -(-MIN_SIDE // multiple) * multiple
        near = max(round(config.image_size / multiple) * multiple, least)
        raise ConfigError(
            f"model.image_size is {config.image_size}; expected a multiple of {multiple}, at least {least}, such as "
            f"{near}"
        )
    return height // stride, width // stride
