"""Which inspections are asked for, and in which order they come: the newest first, by keyset."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field
from sqlalchemy import ColumnElement, Select, exists, select
from sqlalchemy.orm import Session

from vtadl.server.database import Database
from vtadl.server.schemas import Judgement, Verdict
from vtadl.server.tables import ID_LENGTH, Inspection, Tag, first_id
from vtadl.server.texts import Text

EXPORTED_AT_ONCE = 500
IDENTIFIER = rf"^[0-9a-f]{{{ID_LENGTH}}}$"


def _absent(value: object) -> object:
    """A form sends an empty field for one that is not filled in."""
    return None if value == "" else value


Moment = Annotated[AwareDatetime | None, BeforeValidator(_absent)]


class Filters(BaseModel):
    """Conditions, all of which must hold."""

    detector: Annotated[Text | None, BeforeValidator(_absent)] = None
    verdict: Annotated[Verdict | None, BeforeValidator(_absent)] = None
    label: Annotated[Judgement | None, BeforeValidator(_absent)] = None
    corrected: Annotated[bool | None, BeforeValidator(_absent)] = None
    part: Annotated[Text | None, BeforeValidator(_absent)] = None
    batch: Annotated[Text | None, BeforeValidator(_absent)] = None
    tag: Annotated[Text | None, BeforeValidator(_absent)] = None
    since: Annotated[Moment, Field(description="with its time zone, as 2026-01-31T08:00:00Z")] = None
    until: Moment = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        found = [
            getattr(Inspection, name) == getattr(self, name)
            for name in ("detector", "verdict", "label", "corrected", "part", "batch")
            if getattr(self, name) is not None
        ]
        if self.tag is not None:
            found.append(exists().where(Tag.inspection == Inspection.id, Tag.tag == self.tag))
        if self.since is not None:
            found.append(Inspection.id >= first_id(_ms(self.since)))
        if self.until is not None:
            found.append(Inspection.id < first_id(_ms(self.until)))
        return found

    def newest_first(self, before: str | None, limit: int) -> Select[Inspection]:
        """The next inspections older than ``before``."""
        asked = select(Inspection).where(*self.conditions()).order_by(Inspection.id.desc()).limit(limit)
        return asked if before is None else asked.where(Inspection.id < before)


def tags_of(session: Session, rows: Iterable[Inspection]) -> dict[str, list[str]]:
    """The tags of each inspection."""
    found: dict[str, list[str]] = {row.id: [] for row in rows}
    for tag in session.scalars(select(Tag).where(Tag.inspection.in_(found))) if found else ():
        found[tag.inspection].append(tag.tag)
    return found


def everything(database: Database, filters: Filters) -> Iterator[tuple[Inspection, list[str]]]:
    """All inspections that are asked for with their tags, a few hundred in memory at a time."""
    before = None
    while True:
        with database.read() as session:
            rows = session.scalars(filters.newest_first(before, EXPORTED_AT_ONCE)).all()
            tags = tags_of(session, rows)
        yield from ((row, tags[row.id]) for row in rows)
        if len(rows) < EXPORTED_AT_ONCE:
            return
        before = rows[-1].id


def _ms(moment: datetime) -> int:
    return max(0, int(moment.timestamp() * 1000))
