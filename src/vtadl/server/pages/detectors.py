"""What a detector is: its decision card, another threshold tried on labelled parts, its versions, its drift."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vtadl.server import charts
from vtadl.server.api.detectors import Number, change_active
from vtadl.server.api.inspections import Name
from vtadl.server.drift import STATISTICS, find_drift
from vtadl.server.error_rates import labelled, missed
from vtadl.server.filters import Filters
from vtadl.server.new_versions import Lesson, learn_from, set_threshold
from vtadl.server.pages.rendering import render
from vtadl.server.schemas import moment, version_answer
from vtadl.server.security import needs
from vtadl.server.server import server_of
from vtadl.server.tables import Detector, Inspection, Version
from vtadl.server.versions import active_version, versions_of

router = APIRouter(include_in_schema=False)


@router.get("/detectors", openapi_extra=needs("operator"))
def all_detectors(request: Request) -> Response:
    """Every detector, and how much it judged."""
    with server_of(request).database.read() as session:
        names = session.scalars(select(Detector.name).order_by(Detector.name)).all()
        found = [active_version(session, name) for name in names]
    return render(request, "detectors.html", found=found, tab="detectors")


@router.get("/detectors/{name}", openapi_extra=needs("operator"))
def one_detector(request: Request, name: Name) -> Response:
    """One detector."""
    with server_of(request).database.read() as session:
        active = active_version(session, name)
        versions = versions_of(session, name)
        known = labelled(session, active)
        waiting = _corrections(session, name)
        told = [(version_answer(one, active.number), _missed_by(session, one)) for one in versions]
    scores = json.dumps({"good": known.good, "defective": known.defective})
    return render(
        request,
        "detector.html",
        one=active,
        card=active.description["card"],
        told=told,
        scores=scores,
        known=known,
        waiting=waiting,
        tab="detectors",
    )


@router.get("/detectors/{name}/drift", openapi_extra=needs("operator"))
def drift_page(request: Request, name: Name) -> Response:
    """The newest inspections against calibration."""
    with server_of(request).database.read() as session:
        drift = find_drift(session, name)
    lines = {
        statistic: charts.line([getattr(row, statistic) for row in drift.rows], drift.reference[statistic])
        for statistic in STATISTICS
        if drift.rows
    }
    return render(
        request,
        "drift.html",
        name=name,
        found=drift.found,
        why=drift.why,
        lines=lines,
        count=len(drift.rows),
        period=[moment(drift.rows[place].created_ms) for place in (0, -1)] if drift.rows else None,
        tab="detectors",
    )


@router.post("/detectors/{name}/threshold", openapi_extra=needs("engineer"))
async def threshold(
    request: Request, name: Name, value: Annotated[float, Form(allow_inf_nan=False)]
) -> RedirectResponse:
    """Judge by another threshold."""
    await set_threshold(server_of(request), name, value, request.state.principal.name)
    return RedirectResponse(f"/detectors/{name}", 303)


@router.post("/detectors/{name}/learn", openapi_extra=needs("engineer"))
async def learn(
    request: Request,
    name: Name,
    what: Annotated[Lesson, Form()],
    days: Annotated[float | None, Form(gt=0, le=36500)] = None,
) -> RedirectResponse:
    """Learn from pictures of the history: of the last days, or of all of it."""
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    await learn_from(server_of(request), name, what, Filters(since=since), request.state.principal.name)
    return RedirectResponse(f"/detectors/{name}", 303)


@router.post("/detectors/{name}/activate/{number}", openapi_extra=needs("engineer"))
async def activate(request: Request, name: Name, number: Number) -> RedirectResponse:
    """Let another version judge."""
    await change_active(request, name, number)
    return RedirectResponse(f"/detectors/{name}", 303)


def _corrections(session: Session, name: str) -> dict[str, int]:
    """How many corrections there are to learn from."""
    asked = select(Inspection.label, func.count()).where(Inspection.detector == name, Inspection.corrected.is_(True))
    counts: dict[str, int] = {str(label): count for label, count in session.execute(asked.group_by(Inspection.label))}
    return {label: counts.get(label, 0) for label in ("good", "defective")}


def _missed_by(session: Session, version: Version) -> Any:
    """Of the defects that people found among what a version scored, those that passed."""
    card = version.description["card"]
    if card is None:
        return None
    limit = card["threshold"] if card["review_threshold"] is None else card["review_threshold"]
    return missed(labelled(session, version).defective, limit)
