"""How many labelled parts a threshold would judge wrongly: good ones rejected, defective ones missed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from vtadl.server.detectors import share_interval
from vtadl.server.tables import Inspection, Rescore, Version

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
    """The newest labelled inspections as this version's weights score them, whichever version judged them."""
    versions = session.scalars(select(Version).where(Version.detector == version.detector)).all()
    own = Inspection.version.in_(same_weights(versions, version))
    again = and_(Rescore.inspection == Inspection.id, Rescore.weights == weights_of(version))
    asked = select(func.coalesce(Rescore.score, Inspection.score), Inspection.label).outerjoin(Rescore, again)
    asked = asked.where(
        Inspection.detector == version.detector,
        Inspection.label.in_(("good", "defective")),
        or_(own, Rescore.score.is_not(None)),
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


def weights_of(version: Version) -> str:
    """What tells whether two versions score alike; empty without a card, and then without a threshold to judge."""
    return str((version.description["card"] or {}).get("weights_sha256", ""))


def same_weights(versions: Sequence[Version], version: Version) -> list[int]:
    """Numbers of the versions that score as this one does: those that differ in their card only."""
    return [
        one.number
        for one in versions
        if one.detector == version.detector and (one.id == version.id or weights_of(one) == weights_of(version) != "")
    ]
