"""How large the images are that a network over a frozen backbone sees: a square, or an oblong of about the same
area.
"""

import math

from vtadl.config.schema import SQUARE, BackboneConfig, ContextConfig
from vtadl.errors import ConfigError

MIN_SIDE = 64


def input_size(config: BackboneConfig, multiple: int, stride: int) -> tuple[int, int]:
    """Height and width in pixels.

    Without ``model.aspect``, or with 1, the square of ``model.image_size`` as it is. Else each side is rounded to what
    the backbone takes, and what preset ``context`` can average into patches.

    Args:
        config: the settings.
        multiple: the sides of a backbone's images are multiples of this.
        stride: pixels along a side that make one cell of its grid.
    """
    if config.aspect is None or config.aspect == SQUARE:
        return config.side, config.side
    cells = config.pooling if isinstance(config, ContextConfig) else 1
    root = math.sqrt(config.aspect)
    return _rounded((config.side / root, config.side * root), math.lcm(multiple, stride * cells))


def view_size(config: ContextConfig, multiple: int, stride: int) -> tuple[int, int]:
    """Height and width in pixels of the copy that preset ``context`` shows its transformer; as `input_size`."""
    height, width = input_size(config, multiple, stride)
    if config.context_scale == 1:
        return height, width
    step = math.lcm(multiple, stride * config.pooling * config.coarsening)
    return _rounded((height * config.context_scale, width * config.context_scale), step)


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
        near = max(round(config.side / multiple) * multiple, least)
        raise ConfigError(
            f"model.image_size is {config.side}; expected a multiple of {multiple}, at least {least}, such as {near}"
        )
    return height // stride, width // stride
