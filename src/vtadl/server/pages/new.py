"""A new detector: good pictures in, live progress, a detector out."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import select

from vtadl.server.api.inspections import Name
from vtadl.server.detectors import presets
from vtadl.server.pages.rendering import render
from vtadl.server.problems import NotFoundError
from vtadl.server.security import needs
from vtadl.server.server import server_of
from vtadl.server.tables import Training

router = APIRouter(include_in_schema=False)


@router.get("/new", openapi_extra=needs("engineer"))
def new(request: Request) -> Response:
    """Ask for pictures and a name."""
    with server_of(request).database.read() as session:
        trainings = session.scalars(select(Training).order_by(Training.created_ms.desc())).all()
    return render(request, "new.html", trainings=trainings, presets=presets(), tab="new")


@router.get("/new/{name}", openapi_extra=needs("engineer"))
def one_training(request: Request, name: Name, fragment: bool = False) -> Response:
    """A training, live."""
    server = server_of(request)
    with server.database.read() as session:
        training = session.get(Training, name)
    if training is None:
        raise NotFoundError(f"there is no training '{name}'")
    template = "_training.html" if fragment else "training.html"
    return render(request, template, name=name, progress=server.trainings.progress(training), tab="new")
