"""The first page: a picture in, a verdict out; and the page of one inspection."""

import random
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import select

from vtadl.server.api.inspections import Identifier, found
from vtadl.server.filters import tags_of
from vtadl.server.pages.rendering import render
from vtadl.server.problems import NotFoundError
from vtadl.server.schemas import answer_of
from vtadl.server.security import needs
from vtadl.server.server import Server, server_of
from vtadl.server.tables import Detector, Inspection, Label
from vtadl.server.versions import NAME, active_version

SAMPLES = 8
router = APIRouter(include_in_schema=False)


@router.get("/", openapi_extra=needs("operator"))
def first_page(request: Request, detector: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Drop, choose, paste or photograph."""
    server = server_of(request)
    with server.database.read() as session:
        names = session.scalars(select(Detector.name).order_by(Detector.name)).all()
        uncalibrated = [name for name in names if active_version(session, name).description["card"] is None]
    chosen = detector if detector in names else next(iter(names), "")
    samples = {name: _samples(server, name) for name in names}
    return render(
        request, "inspect.html", names=names, chosen=chosen, uncalibrated=uncalibrated, samples=samples, tab="inspect"
    )


@router.get("/inspections/{identifier}", openapi_extra=needs("operator"))
def one_inspection(request: Request, identifier: Identifier, fragment: bool = False) -> Response:
    """Everything about one inspection; as a fragment, without the page around it."""
    with server_of(request).database.read() as session:
        row = found(session.get(Inspection, identifier), identifier)
        tags = tags_of(session, [row])[identifier]
        told = session.scalars(select(Label).where(Label.inspection == identifier).order_by(Label.id)).all()
    template = "_result.html" if fragment else "inspection.html"
    return render(request, template, one=answer_of(row, tags), told=told, tab="history")


@router.get("/samples/{name}/{sample}", openapi_extra=needs("operator"))
def sample_picture(request: Request, name: Annotated[str, Path(pattern=NAME)], sample: int) -> Response:
    """A picture of the demo to try."""
    files = _sample_files(server_of(request), name)
    if not 0 <= sample < len(files):
        raise NotFoundError("there is no such picture to try")
    return FileResponse(files[sample])


def _samples(server: Server, name: str) -> list[int]:
    """Which pictures to show: a few, always the same."""
    count = len(_sample_files(server, name))
    return sorted(random.Random(0).sample(range(count), min(SAMPLES, count)))


def _sample_files(server: Server, name: str) -> list[str]:
    if server.settings.samples is None:
        return []
    return sorted(str(path) for path in (server.settings.samples / name / "test").glob("*/*.*"))
