"""The history: a grid or a table, filters in the address, verdicts by hour, corrections by one key."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vtadl.server.api.inspections import Identifier, Page, found
from vtadl.server.charts import Bar, stacked_bars
from vtadl.server.filters import Filters, tags_of
from vtadl.server.pages.rendering import render
from vtadl.server.schemas import answer_of
from vtadl.server.security import needs
from vtadl.server.server import server_of
from vtadl.server.tables import Detector, Inspection, first_id, now_ms

HOUR_MS = 3_600_000
HOURS = 24
VERDICTS = ("good", "review", "defective", None)
router = APIRouter(include_in_schema=False)


class View(Page):
    """Conditions, which page, and how it is shown."""

    view: Literal["grid", "table"] = "grid"
    more: bool = False


@router.get("/history", openapi_extra=needs("operator"))
def history(request: Request, wanted: Annotated[View, Query()]) -> Response:
    """A page of the history; ``more``: only the next entries."""
    with server_of(request).database.read() as session:
        rows = session.scalars(wanted.newest_first(wanted.before, wanted.limit)).all()
        tags = tags_of(session, rows)
        names = session.scalars(select(Detector.name).order_by(Detector.name)).all()
        bars = [] if wanted.more else verdicts_by_hour(session, wanted)
    following = rows[-1].id if len(rows) == wanted.limit else None
    return render(
        request,
        "_entries.html" if wanted.more else "history.html",
        entries=[answer_of(row, tags[row.id]) for row in rows],
        names=names,
        wanted=wanted,
        address=address(wanted),
        next_page=None if following is None else address(wanted, before=following, more=True),
        chart=stacked_bars(bars),
        tab="history",
    )


@router.get("/history/{identifier}", openapi_extra=needs("operator"))
def one_entry(request: Request, identifier: Identifier, view: Literal["grid", "table"] = "grid") -> Response:
    """One entry, drawn again after a correction."""
    with server_of(request).database.read() as session:
        row = found(session.get(Inspection, identifier), identifier)
        tags = tags_of(session, [row])[identifier]
    return render(request, "_entry.html", one=answer_of(row, tags), view=view)


def address(wanted: View, **changed: object) -> str:
    """The query string that shows this again, with some of it changed."""
    values = {**wanted.model_dump(exclude_none=True, exclude={"before", "more"}, mode="json"), **changed}
    return urlencode({name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()})


def verdicts_by_hour(session: Session, wanted: Filters) -> list[Bar]:
    """How many pictures had which verdict in each of the last hours before ``until``."""
    end = now_ms() if wanted.until is None else int(wanted.until.timestamp() * 1000)
    end = max(end, HOURS * HOUR_MS)
    first = end // HOUR_MS - HOURS + 1
    hour = Inspection.created_ms // HOUR_MS
    conditions = wanted.model_copy(update={"since": None, "until": None}).conditions()
    if conditions:
        # An id begins with its time: every index of a filter continues with it.
        period = [Inspection.id >= first_id(first * HOUR_MS), Inspection.id < first_id(end + 1)]
    else:
        period = [Inspection.created_ms >= first * HOUR_MS, Inspection.created_ms <= end]
    asked = select(hour, Inspection.verdict, func.count()).where(*period, *conditions)
    counts = {
        (int(when), verdict): count
        for when, verdict, count in session.execute(asked.group_by(hour, Inspection.verdict))
    }
    return [
        Bar(
            at_ms=when * HOUR_MS,
            parts={str(verdict or "none"): counts.get((when, verdict), 0) for verdict in VERDICTS},
        )
        for when in range(first, first + HOURS)
    ]
