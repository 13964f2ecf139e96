"""How unlike its training images a picture is, in what a file shows at a glance: size, aspect, depth, colours."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.data.images import read_image
from vtadl.data.resizing import is_grey
from vtadl.data.value_range import TOP, Range, in_range

SAMPLED = 20
TIMES = 2.0
"""A picture's side may be so many times the longest or the shortest of a training image."""
ASPECT = 0.1
CLIPPED = 0.5
"""Share of a picture's values that may lie at or beyond the ends of the range."""
DARK = 8
"""A picture whose brightest value is such a part of the darkest training image's is of another exposure or depth."""


def look_of(paths: Sequence[Path], value_range: Range | None) -> dict[str, Any]:
    """What some training images have in common, as JSON values.

    Raises:
        DataError: a file cannot be read.
    """
    images = [in_range(read_image(path), value_range) for path in paths[:: max(-(-len(paths) // SAMPLED), 1)]]
    sides = [(image.shape[0], image.shape[1]) for image in images]
    return {
        "heights": [min(h for h, _ in sides), max(h for h, _ in sides)],
        "widths": [min(w for _, w in sides), max(w for _, w in sides)],
        "aspects": [min(w / h for h, w in sides), max(w / h for h, w in sides)],
        "bits": sorted({8 * image.dtype.itemsize for image in images}),
        "grey": all(map(is_grey, images)),
        "coloured": not any(map(is_grey, images)),
        "brightest": min(float(image.max()) / np.iinfo(image.dtype).max for image in images),
    }


def merged_look(look: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """What two sets of training images have in common, each as `look_of` says it; of an old run's nothing is known."""
    if not look or not more:
        return {}
    spans = {
        name: [min(look[name][0], more[name][0]), max(look[name][1], more[name][1])]
        for name in ("heights", "widths", "aspects")
    }
    return {
        **spans,
        "bits": sorted({*look["bits"], *more["bits"]}),
        "grey": look["grey"] and more["grey"],
        "coloured": look["coloured"] and more["coloured"],
        "brightest": min(look["brightest"], more["brightest"]),
    }


def checked_look(look: Any) -> dict[str, Any]:
    """What a file says of training images, if it is what `look_of` gives, or nothing.

    Raises:
        ValueError: it is something else.
    """

    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value)

    if look == {}:
        return {}
    spans = [look.get(name) for name in ("heights", "widths", "aspects")] if isinstance(look, dict) else [None]
    if not (
        all(isinstance(span, list) and len(span) == 2 and all(map(is_number, span)) for span in spans)
        and isinstance(look.get("bits"), list)
        and all(map(is_number, look["bits"]))
        and isinstance(look.get("grey"), bool)
        and isinstance(look.get("coloured"), bool)
        and is_number(look.get("brightest"))
    ):
        raise ValueError("what it says of the training images is damaged")
    return dict(look)


def tell_unlike(
    look: Mapping[str, Any], name: str, image: NDArray[Any], told: set[str], warn: Callable[[str], None]
) -> None:
    """Say of a picture what is far from the training images, each kind of thing once.

    Args:
        look: of the training images.
        name: of the picture.
        image: ``(H, W, 3)`` with its range stretched already.
        told: what has been said; it is added to.
        warn: called with each line.
    """
    for words in unlike(image, look):
        kind = "".join(letter for letter in words.partition(",")[0] if not letter.isdigit())
        if kind not in told:
            told.add(kind)
            warn(f"'{name}' is {words}: scores mean little on such pictures (said once; others may be like it)")


def unlike(image: NDArray[Any], look: Mapping[str, Any]) -> Iterator[str]:
    """What is far from the training images about a picture ``(H, W, 3)``, its range stretched already; in words."""
    if not look:
        return
    height, width = image.shape[:2]
    for name, side, (low, high) in (("high", height, look["heights"]), ("wide", width, look["widths"])):
        if not low / TIMES <= side <= high * TIMES:
            yield f"{side} pixels {name}, the training images are {low} to {high}"
            break
    low, high = look["aspects"]
    if not low * (1 - ASPECT) <= width / height <= high * (1 + ASPECT):
        yield f"of another aspect ratio, {width / height:.2f}, the training images have {low:.2f} to {high:.2f}"
    bits = 8 * image.dtype.itemsize
    if bits not in look["bits"]:
        trained = " and ".join(map(str, look["bits"]))
        yield f"of {bits} bits a channel, the training images have {trained}"
    if look["grey"] and not is_grey(image):
        yield "in colour, the training images are grey"
    elif look["coloured"] and is_grey(image):
        yield "grey, the training images are in colour"
    top = np.iinfo(image.dtype).max
    if float(image.max()) / top * DARK < look["brightest"]:
        yield f"far darker: its values reach {int(image.max())} of {top}"
    elif image.dtype == np.uint16 and float(((image == 0) | (image == TOP)).mean()) > CLIPPED:
        yield "of another range: most of its values lie outside that of the training images"
