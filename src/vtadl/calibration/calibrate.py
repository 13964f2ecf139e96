"""Calibrate a detector: choose the scores from which on a part is for review or defective, and write the card."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from vtadl.decision.card import CALIBRATING, FORMAT, CalibrationSet, Card, Method, Promise, Rate, scores_of
from vtadl.decision.threshold import (
    cheapest_threshold,
    conformal_threshold,
    miss_threshold,
    rank_of_rate,
    rate_interval,
    share_interval,
)
from vtadl.errors import ConfigError, DataError
from vtadl.runs.run import Run, now, weights_sha256
from vtadl.version import __version__

DEFAULT_RATE = 0.05


@dataclass(frozen=True, kw_only=True)
class Request:
    """What thresholds are asked for. At most one of the first four decides; without any, a rate of `DEFAULT_RATE`."""

    false_reject_rate: float | None = None
    """Share of good images that may be judged defective."""
    threshold: float | None = None
    """Score above which an image is defective, by hand."""
    miss_rate: float | None = None
    """Share of defects like the labelled ones that may pass."""
    miss_cost: float | None = None
    """What a missed defect costs, in units of a rejected good part."""
    defect_share: float = 0.01
    """Share of the line's parts that are defective; used with ``miss_cost``."""
    review_rate: float | None = None
    """Share of good images that may be judged anything but good."""
    review_threshold: float | None = None
    """Score above which an image is for review, by hand."""
    outline_rate: float | None = None
    """Share of good images that may have an outlined region; else regions are outlined where a verdict is not good."""


def lowest_asked(request: Request) -> float | None:
    """The lowest of the rates that a request asks for; ``None`` where it asks for none.

    Raises:
        ConfigError: requests that cannot be, or not together.
    """
    _check_request(request)
    deciding = (request.threshold, request.miss_rate, request.miss_cost)
    rate = request.false_reject_rate
    if rate is None and all(value is None for value in deciding):
        rate = DEFAULT_RATE
    rates = (rate, request.review_rate, request.outline_rate)
    return min((rate for rate in rates if rate is not None), default=None)


def request_of(card: Card) -> Request:
    """What a card's thresholds were asked for with, so that another detector's can be asked for likewise.

    Raises:
        DataError: a card does not say it: its threshold was chosen by a cost.
    """
    if card.method == "cost":
        raise DataError("the threshold was chosen by a cost, which the card does not say: give --miss-cost again")
    review, outlined = card.reviews, card.outlined
    by_rate = review is not None and review.asked is not None
    return Request(
        false_reject_rate=_asked(card.false_rejects) if card.method == "false-reject rate" else None,
        threshold=card.threshold if card.method == "by hand" else None,
        miss_rate=_asked(card.misses) if card.method == "miss rate" else None,
        review_rate=_asked(review),
        review_threshold=None if by_rate else card.review_threshold,
        outline_rate=None if outlined in (review, card.false_rejects) else _asked(outlined),
    )


def _asked(rate: Rate | None) -> float | None:
    return None if rate is None else rate.asked


def calibrate(run: Run, sets: Sequence[CalibrationSet], request: Request) -> Card:
    """The decision card for a detector, from the images that count, as `vtadl.calibration.images` gathers them.

    Raises:
        ConfigError: requests that cannot be, or not together.
        DataError: the images cannot support what is asked for.
    """
    _check_request(request)
    pool = scores_of(sets, *CALIBRATING)
    good, defective = scores_of(sets, "labelled good"), scores_of(sets, "labelled defective")
    method, threshold, asked = _threshold(request, pool, good, defective)
    review = _review_threshold(request, pool, threshold)
    false_rejects = _rate(pool, threshold, asked)
    reviews = None if review is None else _rate(pool, review, request.review_rate)
    # What is not good has an outline and what is good has none, unless another rate is asked for.
    not_good, outlined = (threshold, false_rejects) if review is None else (review, reviews)
    pixel = not_good
    if request.outline_rate is not None:
        pixel = conformal_threshold(pool, request.outline_rate)
        outlined = _rate(pool, pixel, request.outline_rate)
    promise, notes = _promise(sets, method)
    return Card(
        format=FORMAT,
        vtadl=__version__,
        created=now(),
        weights_sha256=weights_sha256(run.model),
        category=run.source.category,
        preset=run.config.preset,
        method=method,
        promise=promise,
        notes=(*notes, *_observations(good, threshold), *_change(run.card, defective, not_good)),
        threshold=threshold,
        review_threshold=review,
        pixel_threshold=pixel,
        false_rejects=false_rejects,
        reviews=reviews,
        outlined=outlined,
        misses=_misses(defective, not_good, request),
        calibration_sets=tuple(sets),
    )


def _check_request(request: Request) -> None:
    values = asdict(request)
    deciding = ("false_reject_rate", "threshold", "miss_rate", "miss_cost")
    for names in (deciding, ("review_rate", "review_threshold")):
        given = [name for name in names if values[name] is not None]
        if len(given) > 1:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ConfigError(f"{flags} cannot both decide; give one of them")
    for name in ("threshold", "review_threshold"):
        if values[name] is not None and not math.isfinite(values[name]):
            raise ConfigError(f"--{name.replace('_', '-')} is {values[name]}; expected a finite score")


def _threshold(
    request: Request, pool: Sequence[float], good: Sequence[float], defective: Sequence[float]
) -> tuple[Method, float, float | None]:
    """How the threshold was found, what it is, and the false-reject rate that was asked for, if one was."""
    if request.threshold is not None:
        return "by hand", request.threshold, None
    if request.miss_rate is not None:
        return "miss rate", miss_threshold(defective, request.miss_rate), None
    if request.miss_cost is not None:
        threshold = cheapest_threshold(
            good or pool, defective, miss_cost=request.miss_cost, defect_share=request.defect_share
        )
        return "cost", threshold, None
    rate = DEFAULT_RATE if request.false_reject_rate is None else request.false_reject_rate
    return "false-reject rate", conformal_threshold(pool, rate), rate


def _review_threshold(request: Request, pool: Sequence[float], threshold: float) -> float | None:
    review = request.review_threshold
    if request.review_rate is not None:
        review = conformal_threshold(pool, request.review_rate)
    if review is not None and review >= threshold:
        raise ConfigError(
            f"the review band would be empty: it begins at {review:.6g}, and defective at {threshold:.6g}; "
            "give a higher --review-rate or a lower --review-threshold"
        )
    return review


def _rate(pool: Sequence[float], threshold: float, asked: float | None) -> Rate | None:
    """How many good images exceed a threshold: promised where a rate was asked for, else counted."""
    count = len(pool)
    if count == 0:
        return None
    if asked is not None:
        rank = rank_of_rate(asked, count)
        low, high = rate_interval(rank, count)
        return Rate(asked=asked, expected=rank / (count + 1), low=low, high=high, images=count)
    return _counted(sum(score > threshold for score in pool), count)


def _misses(defective: Sequence[float], threshold: float, request: Request) -> Rate | None:
    if not defective:
        return None
    counted = _counted(sum(score <= threshold for score in defective), len(defective))
    return replace(counted, asked=request.miss_rate)


def _counted(hits: int, count: int) -> Rate:
    low, high = share_interval(hits, count)
    return Rate(asked=None, expected=hits / count, low=low, high=high, images=count)


def _promise(sets: Sequence[CalibrationSet], method: Method) -> tuple[Promise, list[str]]:
    """How far the stated rates can be trusted, and why."""
    notes = []
    if any(one.kind == "cross-fit" for one in sets):
        notes.append(
            "Cross-fitted: the training images were scored by five other detectors, none of which saw the images that "
            "it scored; the detector that is used saw them all. So the rates are approximate."
        )
    if any(one.kind == "added rejects" for one in sets):
        notes.append(
            "Rejects that were fine were added. They are a biased sample, the highest-scoring good parts of their "
            "period, so the threshold is higher than the asked rate needs, and the promise is no longer exact: fewer "
            "good parts are rejected than stated, and more defects pass."
        )
    match method:
        case "by hand":
            return "none", [*notes, "The threshold was set by hand: nothing is promised; the rates are counted."]
        case "miss rate":
            why = "The miss rate holds for defects of the same kinds, and as often, as the labelled ones."
            return "approximate", [*notes, why]
        case "cost":
            why = "The threshold was chosen for its cost on the labelled images, where it looks better than it is."
            return "approximate", [*notes, why]
    if notes:
        return "approximate", notes
    why = "Good images that come from the same line as the calibration images are rejected at the stated rate."
    return "exact", [why]


def _observations(good: Sequence[float], threshold: float) -> list[str]:
    if not good:
        return []
    return [f"Of {len(good)} labelled good images, {sum(s > threshold for s in good)} are judged defective."]


def _change(card: Card | None, defective: Sequence[float], passes_to: float) -> list[str]:
    """What a new threshold does to labelled defects, in a sentence."""
    if card is None or not defective:
        return []
    before = card.threshold if card.review_threshold is None else card.review_threshold
    old, new = (sum(score <= limit for score in defective) for limit in (before, passes_to))
    return [f"Of {len(defective)} labelled defects, {old} passed as good before this calibration, and {new} do now."]
