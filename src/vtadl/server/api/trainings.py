"""Routes of trainings: pictures of good parts in, a detector out."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from vtadl.errors import DataError
from vtadl.server.api.inspections import IMAGES, Name, shown_name
from vtadl.server.detectors import presets
from vtadl.server.problems import NotFoundError
from vtadl.server.security import needs
from vtadl.server.server import server_of
from vtadl.server.storage import save_upload
from vtadl.server.tables import Training, new_id
from vtadl.server.texts import Text

MOST_AT_ONCE = 50
router = APIRouter(prefix="/v1/trainings", tags=["trainings"])


class TrainingRequest(BaseModel):
    """What to learn from, and how."""

    folder: Annotated[Text | None, Field(description="on the server; without it, the pictures that were sent")] = None
    preset: Annotated[Text, Field(max_length=40)] = "gaussian"


class TrainingAnswer(BaseModel):
    """How far a training is."""

    name: str
    state: str = Field(description="running, failed or done")
    preset: str
    step: int | None
    log: str


class Kept(BaseModel):
    """How many pictures there are."""

    pictures: int


@router.post("/{name}/pictures", status_code=201, openapi_extra={**needs("engineer"), **IMAGES})
async def pictures(request: Request, name: Name) -> Kept:
    """Add pictures of good parts; the same picture twice counts once."""
    server = server_of(request)
    folder = server.trainings.folder(name) / "images"
    folder.mkdir(parents=True, exist_ok=True)
    async with request.form(max_files=MOST_AT_ONCE, max_fields=10) as form:
        files = [file for file in form.getlist("images") if isinstance(file, UploadFile)]
        if not files:
            raise DataError("there is no picture; send some in the field images of multipart/form-data")
        for file in files:
            arriving = server.storage.incoming / f"{new_id()}.picture"
            most, shown = server.settings.max_image_bytes, shown_name(file.filename)
            try:
                sha256, _, kind = await run_in_threadpool(save_upload, file.file, arriving, most, shown)
                arriving.replace(folder / f"{sha256[:32]}.{kind}")
            finally:
                arriving.unlink(missing_ok=True)
    return Kept(pictures=sum(1 for _ in folder.iterdir()))


@router.put("/{name}", status_code=202, openapi_extra=needs("engineer"))
def begin(request: Request, name: Name, wanted: TrainingRequest) -> TrainingAnswer:
    """Begin a training; when it ends, the detector is there. A restarted server resumes it."""
    server = server_of(request)
    if wanted.preset not in presets():
        raise DataError(f"unknown preset '{wanted.preset}'; choose from: {', '.join(presets())}")
    images = Path(wanted.folder) if wanted.folder else None
    server.trainings.begin(name, images, wanted.preset, request.state.principal.name)
    return progress(request, name)


@router.get("/{name}", openapi_extra=needs("engineer"))
def progress(request: Request, name: Name) -> TrainingAnswer:
    """How far a training is."""
    server = server_of(request)
    with server.database.read() as session:
        training = session.get(Training, name)
    if training is None:
        raise NotFoundError(f"there is no training '{name}'")
    found = server.trainings.progress(training)
    return TrainingAnswer(name=name, state=found.state, preset=training.preset, step=found.step, log=found.log)
