"""The poses in which a part may lie under a camera: flips, and turns by quarters."""

from collections.abc import Callable

from torch import Tensor

POSES: dict[str, Callable[[Tensor], Tensor]] = {
    "flipped left to right": lambda x: x.flip(-1),
    "flipped top to bottom": lambda x: x.flip(-2),
    "turned by 180": lambda x: x.flip(-2, -1),
    "turned by 90": lambda x: x.rot90(1, (-2, -1)),
    "turned by 270": lambda x: x.rot90(3, (-2, -1)),
    "transposed": lambda x: x.transpose(-2, -1),
    "transposed across": lambda x: x.rot90(2, (-2, -1)).transpose(-2, -1),
}
"""Of images ``(..., H, W)``: with the image as it is, the eight symmetries of a square."""
FLIPS = tuple(POSES)[:3]
"""Those that a rectangle has too."""
QUARTER_TURNS = ("turned by 90", "turned by 270")
