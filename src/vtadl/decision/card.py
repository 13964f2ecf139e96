"""The decision card: from which score on a part is defective, and what that promises. JSON in and out, checked.

The standard library alone, so that any runtime shares it.
"""

import dataclasses
import json
import math
import types
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vtadl.errors import BundleError

FORMAT = 1
CARD_FILE = "card.json"
"""In a run folder, and in an export."""

Verdict = Literal["good", "review", "defective"]
Method = Literal["false-reject rate", "miss rate", "cost", "by hand"]
Promise = Literal["exact", "approximate", "none"]
Kind = Literal["held out", "cross-fit", "added good", "added rejects", "labelled good", "labelled defective"]
CALIBRATING: tuple[Kind, ...] = ("held out", "cross-fit", "added good", "added rejects")
"""Kinds of images whose scores give p-values and thresholds; the others only measure or choose."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of images: what was asked for, and what is expected with which interval."""

    asked: float | None
    """``None`` where nobody asked for a rate, as with a threshold set by hand."""
    expected: float
    low: float
    """The true share lies between ``low`` and ``high`` with 95 % probability, as far as the card's promise goes."""
    high: float
    images: int
    """How many images this rests on."""


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Images that the card rests on."""

    kind: Kind
    folder: str
    added: str
    """Date and time, ISO 8601."""
    sha256: tuple[str, ...]
    """Of each image's file; nothing is counted twice."""
    scores: tuple[float, ...]
    appearance: tuple[tuple[float, float, float], ...]
    """Brightness, contrast and sharpness of each image; empty where they were not measured."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """How scores become verdicts, and what was calibrated on what, when, with which expected rates."""

    format: int
    vtadl: str
    created: str
    """Date and time, ISO 8601."""
    weights_sha256: str
    """Of the detector that it belongs to; with any other it is refused."""
    category: str
    preset: str
    method: Method
    promise: Promise
    notes: tuple[str, ...]
    """Why the promise is what it is, and what else the reader should know; a sentence each."""
    threshold: float
    """Images that score more are defective."""
    review_threshold: float | None
    """Images that score more than this, but are not defective, are for a person to look at; ``None``: no such band."""
    pixel_threshold: float
    """Pixels that score more are outlined."""
    false_rejects: Rate | None
    """Good images judged defective."""
    reviews: Rate | None
    """Good images judged defective or for review."""
    outlined: Rate | None
    """Good images with any outlined region: images, not pixels, because pixels are not independent."""
    misses: Rate | None
    """Labelled defects judged good."""
    calibration_sets: tuple[CalibrationSet, ...]

    @cached_property
    def calibration(self) -> tuple[float, ...]:
        """The scores behind p-values, ascending."""
        return tuple(sorted(scores_of(self.calibration_sets, *CALIBRATING)))

    def verdict(self, score: float) -> Verdict:
        """What a score means."""
        if score > self.threshold:
            return "defective"
        return "review" if self.review_threshold is not None and score > self.review_threshold else "good"

    def p_value(self, score: float) -> float | None:
        """`p_value` among the calibration scores; ``None`` where there are none."""
        return p_value(score, self.calibration) if self.calibration else None


def scores_of(sets: Iterable[CalibrationSet], *kinds: Kind) -> list[float]:
    """The scores of images of some kinds."""
    return [score for one in sets if one.kind in kinds for score in one.scores]


def p_value(score: float, calibration: Sequence[float]) -> float:
    """How likely a good image is to score this high: at most P exactly where the score exceeds the threshold for P.

    Args:
        score: of a new image.
        calibration: scores of good images that the detector was not trained on, ascending.

    Returns:
        In ``[1 / (n + 1), 1]``.

    >>> p_value(2.5, [1.0, 2.0, 3.0])
    0.5
    """
    count = len(calibration)
    return (1 + count - bisect_left(calibration, score)) / (count + 1)


def to_json(card: Card) -> str:
    """The card as JSON text."""
    return json.dumps(dataclasses.asdict(card), indent=1, allow_nan=False) + "\n"


def from_json(text: str, source: str) -> Card:
    """Read back what `to_json` wrote; ``source`` names the file in errors.

    Raises:
        BundleError: not a card, a damaged one, or one of a newer version.
    """
    fix = "restore it, or run vtadl calibrate again"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"'{source}' is damaged: {error}; {fix}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(f"'{source}' has format {version}; this vtadl reads up to {FORMAT}: upgrade vtadl")
    if isinstance(content, dict) and "parts" in content:  # the name in earlier cards
        content["calibration_sets"] = content.pop("parts")
    try:
        card: Card = _read(Card, content, "card")
        _check(card)
    except ValueError as error:
        raise BundleError(f"'{source}' is damaged: {error}; {fix}") from error
    return card


def _check(card: Card) -> None:
    if card.format != FORMAT:
        raise ValueError(f"format is {card.format}, expected {FORMAT}")
    if card.review_threshold is not None and card.review_threshold >= card.threshold:
        raise ValueError(f"the review threshold {card.review_threshold:g} is not below {card.threshold:g}")
    for one in card.calibration_sets:
        if len(one.sha256) != len(one.scores) or len(one.appearance) not in (0, len(one.scores)):
            raise ValueError(
                f"the calibration set '{one.kind}' has {len(one.scores)} scores for {len(one.sha256)} images"
            )


def _read(kind: Any, value: Any, name: str) -> Any:
    """A JSON value as the type that an annotation names; a ValueError says where it does not fit."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, Mapping) or value.keys() != hints.keys():
            raise ValueError(f"{name} is no object with the keys {', '.join(hints)}")
        return kind(**{key: _read(hint, value[key], f"{name}.{key}") for key, hint in hints.items()})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(arguments[0], value, name)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise ValueError(f"{name} is {str(value)[:40]!r}, expected one of: {', '.join(arguments)}")
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, name)
    return _read_scalar(kind, value, name)


def _read_tuple(arguments: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(kinds) != len(value):
        raise ValueError(f"{name} has {len(value)} values, expected {len(kinds)}")
    return tuple(_read(kind, item, f"{name}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _read_scalar(kind: type, value: Any, name: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 1e308 else math.inf
    if type(value) is not kind:
        raise ValueError(f"{name} is {str(value)[:40]!r}, expected {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, expected a finite number")
    return value
