"""Compare a period's predictions with calibration: has the lighting, the focus or the product changed?

Each of score, brightness, contrast and sharpness is compared by the two-sample Kolmogorov-Smirnov test, which notices a
change of place, of spread and of shape. An alarm needs both: a difference that chance explains less than once in 1,000
periods, and one that is large. With thousands of images chance explains nothing, and a small difference is no alarm; a
few defects among many good parts are none either.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from vtadl.decision.card import CALIBRATING
from vtadl.errors import DataError
from vtadl.runs.run import Run

CHANCE = 1e-3
"""Of a false alarm in a period, over all statistics, if images are independent."""
LARGE = 0.35
"""Largest difference of the two distribution functions that is still no alarm."""
MANY = 0.1
"""Share of images not judged good from which on it is worth a line."""
FEWEST = 10
"""Images on either side, below which nothing is compared."""
STATISTICS = ("score", "brightness", "contrast", "sharpness")


@dataclass(frozen=True, kw_only=True)
class Shift:
    """One statistic, in calibration and in the period."""

    name: str
    before: float
    """Median in calibration."""
    now: float
    """Median of the period."""
    difference: float
    """Largest difference of the two distribution functions, in [0, 1]."""
    p_value: float
    drifted: bool

    @property
    def corrected_p(self) -> float:
        """Bonferroni's, for as many statistics as are compared: what the limit of chance is held against."""
        return min(1.0, self.p_value * len(STATISTICS))


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What has changed since calibration."""

    images: int
    """Of the period, with a score."""
    unreadable: int
    calibrated_on: int
    not_good: float | None
    """Share of the period's images whose verdict is not good; ``None`` without verdicts."""
    expected: float | None
    """That share of good images, as calibration expects it; ``None`` where it does not say."""
    comparisons: tuple[Shift, ...]
    alarms: tuple[str, ...]
    """What the changes point to: lighting, focus, product."""
    reference: Mapping[str, tuple[float, ...]]
    """Values in calibration, by statistic."""
    period: Mapping[str, tuple[float, ...]]
    """Values of the period in the order of its rows."""

    @property
    def many_rejects(self) -> bool:
        """Whether far more than expected are not judged good, and yet nothing drifted: defects do not shift a median.

        Far more: twice what is expected, and a tenth of all images at least.
        """
        if self.not_good is None or self.alarms:
            return False
        return self.not_good >= max(MANY, 2 * (self.expected or 0.0))

    def to_json(self) -> dict[str, Any]:
        """The result without the values."""
        content = asdict(self)
        return {name: value for name, value in content.items() if name not in ("reference", "period")}


def find_drift(run: Run, rows: Iterable[Mapping[str, Any]]) -> Drift:
    """Compare a period's rows of ``predictions.jsonl`` with a run's calibration, or its held-out images without one.

    Raises:
        DataError: rows without the statistics, or too few images on either side.
    """
    reference = reference_values(run)
    period: dict[str, list[float]] = {name: [] for name in reference}
    unreadable, verdicts = 0, []
    for number, row in enumerate(rows, start=1):
        if row.get("score") is None:
            unreadable += 1
            continue
        for name, values in period.items():
            values.append(_number(row, name, number))
        verdicts.append(row.get("verdict"))
    count, calibrated = len(verdicts), len(reference["score"])
    for what, images in (("the predictions hold", count), ("the detector was calibrated on", calibrated)):
        if images < FEWEST:
            raise DataError(f"{what} {images} images; drift needs at least {FEWEST} to compare")
    comparisons = tuple(_compare(name, reference[name], period[name]) for name in STATISTICS)
    known = [verdict for verdict in verdicts if verdict is not None]
    return Drift(
        images=count,
        unreadable=unreadable,
        calibrated_on=calibrated,
        not_good=sum(verdict != "good" for verdict in known) / len(known) if known else None,
        expected=_expected(run),
        comparisons=comparisons,
        alarms=_causes({comparison.name for comparison in comparisons if comparison.drifted}),
        reference=reference,
        period={name: tuple(values) for name, values in period.items()},
    )


def _expected(run: Run) -> float | None:
    if run.card is None:
        return None
    rate = run.card.reviews or run.card.false_rejects
    return None if rate is None else rate.expected


def _causes(drifted: set[str]) -> tuple[str, ...]:
    """What changed statistics point to. A lens out of focus takes contrast too, and either changes scores."""
    lighting = "brightness" in drifted or ("contrast" in drifted and "sharpness" not in drifted)
    causes = {"lighting": lighting, "focus": "sharpness" in drifted}
    return tuple(cause for cause, found in causes.items() if found) or (("product",) if drifted else ())


def reference_values(run: Run) -> dict[str, tuple[float, ...]]:
    """Scores and image statistics of good images, by name."""
    if run.card is not None:
        # Rejects that were fine are no fair sample of good parts, and cross-fitted scores are other detectors'.
        sets = [one for one in run.card.calibration_sets if one.kind in CALIBRATING and one.kind != "added rejects"]
        scores = [score for one in sets if one.kind != "cross-fit" for score in one.scores]
        appearance = [image for one in sets for image in one.appearance]
    else:
        scores, appearance = list(run.held_out.scores), list(run.held_out.appearance)
    columns = list(zip(*appearance, strict=True)) or [(), (), ()]
    return {
        "score": tuple(scores),
        **dict(zip(("brightness", "contrast", "sharpness"), columns, strict=True)),
    }


def _number(row: Mapping[str, Any], name: str, number: int) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DataError(f"row {number} of the predictions has {name} {value!r}; expected what vtadl predict wrote")
    return float(value)


def _compare(name: str, before: tuple[float, ...], now: list[float]) -> Shift:
    test = stats.ks_2samp(before, now, method="auto")
    difference, p_value = float(test.statistic), float(test.pvalue)
    return Shift(
        name=name,
        before=float(np.median(before)),
        now=float(np.median(now)),
        difference=difference,
        p_value=p_value,
        drifted=p_value < CHANCE / len(STATISTICS) and difference > LARGE,
    )
