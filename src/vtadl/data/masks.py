"""What looks wrong about the masks of a set: inverted, empty, with values that are no defect, turned."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 0.5
"""Of an image's pixels; a mask that covers more is hardly one of a defect."""
LABELS = 8
"""Values of a mask, at most, that are taken for labels of classes; more are what interpolation leaves."""


@dataclass(frozen=True, kw_only=True)
class MaskSummary:
    """What the warnings need to know of a mask, so that a million need not be kept."""

    path: Path
    share: float
    """Of pixels that count as defective."""
    values: tuple[int | float, ...]
    """What its pixels hold, the first `LABELS` + 1."""
    around: frozenset[int | float]
    """Values but 0 that are on all four borders."""
    turned: bool
    """Whether its image is turned upright by its EXIF orientation."""


def summarize_mask(path: Path, values: NDArray[Any], *, turned: bool = False) -> MaskSummary:
    """Summarise a mask, as `vtadl.data.mask_files.read_mask_values` gives it."""
    borders = (values[0], values[-1], values[:, 0], values[:, -1])
    around = set(borders[0].tolist()).intersection(*(border.tolist() for border in borders[1:])) - {0}
    return MaskSummary(
        path=path,
        share=float(np.count_nonzero(values)) / values.size,
        values=tuple(np.unique(values)[: LABELS + 1].tolist()),
        around=frozenset(around),
        turned=turned,
    )


EMPTY = "are empty: their images count as defective, and no pixel of them does; draw the defects, or move the images"
COVERING = (
    "cover more than half of their image: any pixel that is not black counts as defective, so are they inverted, or is "
    "their background another value than 0? Draw defects white on black"
)
GREY = (
    "as interpolation leaves them: all but black counts as defective, so regions are wider than drawn; resample masks "
    "by nearest neighbour"
)
TURNED = (
    "belong to photos that their EXIF orientation turns upright: masks must be drawn on the upright photo; if they "
    "were drawn on the pixels as stored, turn the masks, or remove the tag from the photos"
)


def mask_warnings(masks: Sequence[MaskSummary], *, empty: bool = True) -> list[str]:
    """One line for each thing that looks wrong about the masks of a set, ``empty`` ones among them if asked."""
    lines = (
        _line([m for m in masks if empty and m.share == 0], masks, EMPTY),
        _line([m for m in masks if m.share > MOST], masks, COVERING),
        _void(masks),
        _labels(masks),
        _line([m for m in masks if len(m.values) > LABELS], masks, GREY, kind="have grey levels, '{}' for one, "),
        _line([m for m in masks if m.turned], masks, TURNED),
    )
    return [line for line in lines if line is not None]


def _void(masks: Sequence[MaskSummary]) -> str | None:
    """A line on the lowest value that goes around the images of most masks, and is not all that is drawn in an inverted
    one or in a single one.
    """
    drawn = [m for m in masks if m.share > 0]
    for value in sorted({value for m in drawn for value in m.around}):
        found = [m for m in drawn if value in m.around]
        among_others = any(set(m.values) - {0, value} for m in found)
        alone = len(found) > 1 and any(m.share <= MOST for m in found)
        if 2 * len(found) >= len(drawn) and (among_others or alone):
            where = "every mask" if len(found) == len(drawn) else f"{len(found)} of {len(drawn)} masks"
            return (
                f"the value {_shown(value)} touches the border all around in {where}, '{found[0].path}' for one, as a "
                "background or a void label does, and counts as defective: set it to 0"
            )
    return None


def _labels(masks: Sequence[MaskSummary]) -> str | None:
    found = [m for m in masks if 2 < len(m.values) <= LABELS]
    values = sorted({value for m in found for value in m.values} - {0})[:LABELS]
    return _line(
        found,
        masks,
        f"hold several values ({', '.join(map(_shown, values))}), as labels of classes are: each but 0 "
        "counts as defective",
    )


def _shown(value: float) -> str:
    """A number as it is; a colour, which `read_mask_values` packs into one, as red, green and blue."""
    if value < 2**32:
        return f"{value:g}"
    packed = int(value)
    return f"({packed >> 32}, {packed >> 16 & 0xFFFF}, {packed & 0xFFFF})"


def _line(
    found: Sequence[MaskSummary], masks: Sequence[MaskSummary], what: str, kind: str = "('{}' for one) "
) -> str | None:
    if not found:
        return None
    return f"{len(found)} of {len(masks)} masks {kind.format(found[0].path)}{what}"
