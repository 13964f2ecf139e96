"""The application: parts, routes, and what holds for all of them."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.staticfiles import StaticFiles

from vtadl.server.api import detectors, health, inspections, pictures, trainings
from vtadl.server.middleware import Headers, Limit, Timing
from vtadl.server.pages import detectors as detector_pages
from vtadl.server.pages import docs, history, inspect, new, sign_in
from vtadl.server.pages import settings as settings_pages
from vtadl.server.problems import add_handlers
from vtadl.server.server import Server, server_of
from vtadl.server.settings import Settings
from vtadl.version import __version__

STATIC = Path(__file__).parent / "static"


async def authorise(request: Request) -> None:
    """The one dependency of every route: may whoever sends this?"""
    await server_of(request).guard.check(request)


def create_app(settings: Settings, folders: Sequence[Path]) -> FastAPI:
    """An application that serves detectors.

    Args:
        settings: how it is run.
        folders: run folders and exports; their names are the detectors' names.

    Raises:
        VtadlError: a folder, the data folder or the database cannot be used.
    """
    server = Server(settings, folders)
    server.prepare()
    app = FastAPI(
        title="vtadl inspection server",
        version=__version__,
        lifespan=server.running,
        dependencies=[Depends(authorise)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    for module in (inspections, pictures, detectors, trainings, health):
        app.include_router(module.router)
    for page in (inspect, history, detector_pages, new, settings_pages, sign_in, docs):
        app.include_router(page.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    add_handlers(app)
    app.add_middleware(Limit, most=settings.max_request_bytes)
    app.add_middleware(Timing, metrics=server.metrics)
    app.add_middleware(Headers)
    return app
