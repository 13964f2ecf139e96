"""How many labelled parts a threshold would judge wrongly: good ones rejected, defective ones missed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from vtadl.server.detectors import share_interval
from vtadl.server.tables import Inspection

MOST_LABELLED = 5000


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Scores of parts that people judged."""

    good: tuple[float, ...]
    defective: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of how many, with the interval that holds the true share with 95 % probability."""

    hits: int
    count: int
    low: float
    high: float


def labelled(session: Session, detector: str, version: int) -> Labelled:
    """Scores of the newest labelled inspections that this version scored."""
    asked = select(Inspection.score, Inspection.label).where(
        Inspection.detector == detector, Inspection.version == version, Inspection.label.in_(("good", "defective"))
    )
    rows = session.execute(asked.order_by(Inspection.id.desc()).limit(MOST_LABELLED)).all()
    return Labelled(
        good=tuple(sorted(score for score, label in rows if label == "good")),
        defective=tuple(sorted(score for score, label in rows if label == "defective")),
    )


def missed(scores: Sequence[float], passes_to: float) -> Share | None:
    """Of labelled defects, those that pass; ``None`` where there are none."""
    if not scores:
        return None
    hits = sum(score <= passes_to for score in scores)
    low, high = share_interval(hits, len(scores))
    return Share(hits=hits, count=len(scores), low=low, high=high)
