"""Making room: old pictures go, those of good parts first and labelled ones never; the results stay."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from vtadl.server.database import Database
from vtadl.server.storage import Storage
from vtadl.server.tables import Choice, Inspection, first_id, now_ms

DAY_MS = 86_400_000
AT_ONCE = 500
HOURS_SWEPT = 48
INTERVAL_SECONDS = 600.0
NAME = "retention"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is kept; ``None``: everything."""

    days: float | None = None
    gigabytes: float | None = None


def read_rule(session: Session) -> Rule:
    """The rule that was chosen."""
    choice = session.get(Choice, NAME)
    return Rule() if choice is None else Rule(**choice.value)


def tidy(database: Database, storage: Storage) -> None:
    """Apply the rule, and remove leftovers."""
    apply_rule(database, storage)
    remove_orphans(database, storage)


def apply_rule(database: Database, storage: Storage) -> int:
    """Remove the pictures that the rule no longer keeps; how many."""
    with database.read() as session:
        rule = read_rule(session)
    removed = 0
    if rule.days is not None:
        oldest = first_id(int(now_ms() - rule.days * DAY_MS))
        while gone := _remove(database, storage, [Inspection.id < oldest], None):
            removed += len(gone)
    if rule.gigabytes is not None:
        with database.read() as session:
            kept = session.scalar(select(func.sum(Inspection.bytes)).where(Inspection.kept.is_(True))) or 0
        excess = kept - rule.gigabytes * 1e9
        for condition in (
            Inspection.verdict == "good",
            or_(Inspection.verdict.is_(None), Inspection.verdict != "good"),
        ):
            while excess > 0 and (gone := _remove(database, storage, [condition], excess)):
                removed += len(gone)
                excess -= sum(row.bytes for row in gone)
    return removed


def _remove(
    database: Database, storage: Storage, conditions: list[ColumnElement[bool]], excess: float | None
) -> list[Inspection]:
    """Remove the oldest unlabelled pictures that meet conditions; at most ``excess`` bytes and one more."""
    with database.write() as session:
        asked = select(Inspection).where(Inspection.kept.is_(True), Inspection.label.is_(None), *conditions)
        rows = list(session.scalars(asked.order_by(Inspection.id).limit(AT_ONCE)))
        if excess is not None:
            total, count = 0, 0
            while count < len(rows) and total < excess:
                total += rows[count].bytes
                count += 1
            rows = rows[:count]
        for row in rows:
            row.kept = False
    # The rows first: none promises a picture that is gone.
    for row in rows:
        storage.discard(row.id, row.kind)
    return rows


def remove_orphans(database: Database, storage: Storage) -> int:
    """Remove files of the last days that a kill left without a row; how many."""
    storage.sweep()
    removed = 0
    files = list(storage.recent(HOURS_SWEPT))
    for start in range(0, len(files), AT_ONCE):
        some = files[start : start + AT_ONCE]
        with database.read() as session:
            wanted = select(Inspection.id).where(Inspection.id.in_({i for i, _ in some}), Inspection.kept.is_(True))
            known = set(session.scalars(wanted))
        for identifier, path in some:
            if identifier not in known:
                path.unlink(missing_ok=True)
                removed += 1
    return removed
