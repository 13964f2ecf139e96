"""The newest inspections against calibration, for the page, and for whoever watches the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from vtadl.errors import DataError
from vtadl.server.database import Database
from vtadl.server.detectors import compare
from vtadl.server.metrics import Metrics
from vtadl.server.tables import Detector, Inspection
from vtadl.server.versions import active_version

PERIOD = 500
"""Newest inspections that are compared with calibration."""
INTERVAL_SECONDS = 60.0
STATISTICS = ("score", "brightness", "contrast", "sharpness")


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What was compared, and what came of it."""

    rows: Sequence[Inspection]
    """The oldest first."""
    reference: dict[str, list[float]]
    """Values in calibration, by statistic."""
    found: dict[str, Any] | None
    """As `vtadl drift --json` gives it; ``None`` where there was too little to compare."""
    why: str
    """Why it is ``None``."""


def find_drift(session: Session, name: str) -> Drift:
    """Compare a detector's newest inspections with its calibration.

    Raises:
        NotFoundError: no such detector.
    """
    active = active_version(session, name)
    newest = select(Inspection).where(Inspection.detector == name, Inspection.version == active.number)
    rows = session.scalars(newest.order_by(Inspection.id.desc()).limit(PERIOD)).all()[::-1]
    reference, found, why = active.description["reference"], None, ""
    try:
        values = [{"verdict": row.verdict, **{name: getattr(row, name) for name in STATISTICS}} for row in rows]
        found = compare(reference, values)
    except DataError as error:
        why = str(error)
    return Drift(rows=rows, reference=reference, found=found, why=why)


def note_drift(database: Database, metrics: Metrics) -> None:
    """Tell the metrics how far each detector's statistics are from calibration."""
    with database.read() as session:
        for name in session.scalars(select(Detector.name)):
            for one in (find_drift(session, name).found or {}).get("comparisons", ()):
                metrics.drifted(name, one["name"], one["difference"])
