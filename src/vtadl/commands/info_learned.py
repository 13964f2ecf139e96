"""``vtadl info RUN --learned``: suspects among the good images, from the scores that calibration has of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from vtadl.decision.card import CalibrationSet, Card
from vtadl.errors import DataError

SHOWN = 20
FAIR = ("held out", "cross-fit")
"""Kinds of images whose scores come from a detector that had not seen them."""


def learned_lines(record: Mapping[str, Any], card: Card | None, times: dict[str, Any]) -> list[str]:
    """The learned and the held-out images that look least usual to a detector that had not seen them, a line each.

    Raises:
        DataError: nothing scored them yet.
    """
    sets = [one for one in (() if card is None else card.calibration_sets) if one.kind in FAIR]
    if not sets:
        held_out = record["held_out"]
        pairs = list(zip(held_out["scores"], held_out["sha256"], strict=True))
    else:
        pairs = [pair for one in sets for pair in zip(one.scores, one.sha256, strict=True)]
    if not pairs:
        raise DataError("no good image has a score of a detector that had not seen it: run vtadl calibrate first")
    names = _names(times)
    ranked = sorted(pairs, reverse=True)
    lines = [f"{score:>12.6g}  {names.get(sha, f'an image with the checksum {sha[:12]}')}" for score, sha in ranked]
    title = f"least usual of {len(pairs)} good images: if one is no good part, take it out and train again"
    hint = [] if _all_scored(record, sets) else ["the others are scored by: vtadl calibrate RUN --cross-fit CATEGORY"]
    return [title, *lines[:SHOWN], *hint]


def _names(times: dict[str, Any]) -> dict[str, str]:
    """Files by checksum, where the images still are; a run does not store their names."""
    from vtadl.runs.learned_images import remembered_images

    category = remembered_images(times)
    found: dict[str, str] = {}
    for sample in () if category is None else category.samples:
        try:
            found[sample.sha256] = str(sample.path)
        except DataError:
            continue  # it is gone meanwhile
    return found


def _all_scored(record: Mapping[str, Any], sets: Sequence[CalibrationSet]) -> bool:
    return any(one.kind == "cross-fit" for one in sets) or record["source"]["trained_on"] == 0
