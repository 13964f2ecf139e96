"""How many labelled parts a threshold would judge wrongly: good ones rejected, defective ones missed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from vtadl.server.detectors import share_interval
from vtadl.server.tables import Inspection, Version

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


def labelled(session: Session, version: Version) -> Labelled:
    """Scores of the newest labelled inspections that this version scored, or another one with the same weights."""
    versions = session.scalars(select(Version).where(Version.detector == version.detector))
    numbers = [one.number for one in versions if one.id == version.id or _weights(one) == _weights(version) != ""]
    asked = select(Inspection.score, Inspection.label).where(
        Inspection.detector == version.detector,
        Inspection.version.in_(numbers),
        Inspection.label.in_(("good", "defective")),
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


def _weights(version: Version) -> str:
    """Versions that differ in their card only score alike."""
    return str((version.description["card"] or {}).get("weights_sha256", ""))
