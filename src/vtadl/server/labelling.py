"""What people say of inspections: a history that only grows."""

from sqlalchemy.orm import Session

from vtadl.server.tables import Act, Inspection, Label, now_ms


def put_label(session: Session, row: Inspection, label: str | None, note: str, *, by: str) -> None:
    """Add to an inspection's history; ``None`` takes back what was said before."""
    at = now_ms()
    session.add(Label(inspection=row.id, label=label, note=note, by=by, at_ms=at))
    session.add(Act(at_ms=at, by=by, act="labelled", what=f"{row.id}: {label or 'taken back'}"))
    row.label = label
    row.corrected = differs(row.verdict, label)


def differs(verdict: str | None, label: str | None) -> bool:
    """Whether a label contradicts a verdict: good parts that did not pass, and missed defects."""
    if label is None or verdict is None or label == "unsure":
        return False
    return (label == "good") != (verdict == "good")
