"""Routes of inspections: send pictures, read the history, say what a part really was."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy import select
from starlette.datastructures import UploadFile

from vtadl.errors import DataError
from vtadl.server.exporting import csv_lines, json_lines
from vtadl.server.filters import IDENTIFIER, Filters, tags_of
from vtadl.server.labelling import put_label
from vtadl.server.problems import NotFoundError
from vtadl.server.recording import Context, Upload
from vtadl.server.schemas import (
    InspectionAnswer,
    InspectionPage,
    LabelAnswer,
    LabelRequest,
    Recorded,
    answer_of,
    label_answer,
)
from vtadl.server.security import needs
from vtadl.server.server import server_of
from vtadl.server.storage import TooLargeError
from vtadl.server.tables import Inspection, Label
from vtadl.server.texts import Line
from vtadl.server.versions import NAME

MOST_TAGS = 20
Name = Annotated[str, Path(pattern=NAME, description="the detector's name")]
Identifier = Annotated[str, Path(pattern=IDENTIFIER)]
IMAGES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                        }
                    },
                }
            }
        },
    }
}
router = APIRouter(prefix="/v1", tags=["inspections"])


class Page(Filters):
    """Conditions, and which page of what meets them."""

    before: Annotated[str | None, Field(pattern=IDENTIFIER, description="`next` of the page before")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Export(Filters):
    """Conditions, and the format."""

    format: Literal["csv", "jsonl"] = "csv"


@router.post("/detectors/{name}/inspections", status_code=201, openapi_extra={**needs("operator"), **IMAGES})
async def inspect(
    request: Request,
    name: Name,
    part: Annotated[Line | None, Query()] = None,
    batch: Annotated[Line | None, Query()] = None,
    tag: Annotated[list[Annotated[Line, Field(max_length=100)]] | None, Query(max_length=MOST_TAGS)] = None,
    idempotency_key: Annotated[Line | None, Header()] = None,
) -> Recorded:
    """Inspect one picture or several: all are stored, or none."""
    server = server_of(request)
    server.scorer.check_room()
    source = "page" if request.headers.get("x-csrf-token") else "api"
    context = Context(
        source=source,
        by=request.state.principal.name,
        part=part,
        batch=batch,
        tags=tuple(sorted(set(tag or ()))),
        key=idempotency_key,
    )
    most = server.settings.max_images
    async with request.form(max_files=most + 1, max_fields=10) as form:
        files = [file for file in form.getlist("images") if isinstance(file, UploadFile)]
        if not files:
            raise DataError("there is no picture; send one or more in the field images of multipart/form-data")
        if len(files) > most:
            raise TooLargeError(f"a request has at most {most} pictures; send the others in another")
        uploads = [Upload(name=shown_name(file.filename), content=file.file) for file in files]
        rows = await server.recorder.record(name, uploads, context)
    return Recorded(inspections=[answer_of(row, context.tags) for row in rows])


@router.get("/inspections", openapi_extra=needs("operator"))
def history(request: Request, page: Annotated[Page, Query()]) -> InspectionPage:
    """The history, the newest first; the next page begins where `next` says."""
    with server_of(request).database.read() as session:
        rows = session.scalars(page.newest_first(page.before, page.limit)).all()
        tags = tags_of(session, rows)
    following = rows[-1].id if len(rows) == page.limit else None
    return InspectionPage(inspections=[answer_of(row, tags[row.id]) for row in rows], next=following)


@router.get("/inspections/export", openapi_extra=needs("operator"), response_class=StreamingResponse)
def export(request: Request, wanted: Annotated[Export, Query()]) -> StreamingResponse:
    """The history as CSV or JSON lines, streamed."""
    database = server_of(request).database
    lines: Iterator[str] = csv_lines(database, wanted) if wanted.format == "csv" else json_lines(database, wanted)
    kind = "text/csv" if wanted.format == "csv" else "application/jsonl"
    disposition = f'attachment; filename="inspections.{wanted.format}"'
    return StreamingResponse(lines, media_type=kind, headers={"Content-Disposition": disposition})


@router.get("/inspections/{identifier}", openapi_extra=needs("operator"))
def inspection(request: Request, identifier: Identifier) -> InspectionAnswer:
    """One inspection."""
    with server_of(request).database.read() as session:
        row = found(session.get(Inspection, identifier), identifier)
        return answer_of(row, tags_of(session, [row])[identifier])


@router.put("/inspections/{identifier}/label", openapi_extra=needs("operator"))
def label(request: Request, identifier: Identifier, wanted: LabelRequest) -> InspectionAnswer:
    """Say what the part really was; what was said before is kept."""
    with server_of(request).database.write() as session:
        row = found(session.get(Inspection, identifier), identifier)
        put_label(session, row, wanted.label, wanted.note, by=request.state.principal.name)
        return answer_of(row, tags_of(session, [row])[identifier])


@router.get("/inspections/{identifier}/labels", openapi_extra=needs("operator"))
def labels(request: Request, identifier: Identifier) -> list[LabelAnswer]:
    """What was said of an inspection, the latest last."""
    with server_of(request).database.read() as session:
        found(session.get(Inspection, identifier), identifier)
        rows = session.scalars(select(Label).where(Label.inspection == identifier).order_by(Label.id))
        return [label_answer(row) for row in rows]


def found(row: Any, identifier: str) -> Inspection:
    """The inspection that was looked for.

    Raises:
        NotFoundError: there is none.
    """
    if row is None:
        raise NotFoundError(f"there is no inspection '{identifier}'; GET /v1/inspections lists them")
    assert isinstance(row, Inspection)
    return row


def shown_name(name: str | None) -> str:
    """A sender's file name as it may be shown: without folders, without what cannot be printed."""
    plain = PureWindowsPath(PurePosixPath(name or "").name).name
    return re.sub(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]", "", plain)[-255:] or "picture"
