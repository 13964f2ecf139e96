"""Routes for whoever watches the server."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from vtadl.server.problems import problem
from vtadl.server.security import PUBLIC, needs
from vtadl.server.server import server_of
from vtadl.version import __version__

router = APIRouter(tags=["health"])


@router.get("/healthz", openapi_extra=needs(PUBLIC))
async def healthz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok", "vtadl": __version__}


@router.get("/readyz", openapi_extra=needs(PUBLIC), responses={503: {"description": "not yet"}})
def readyz(request: Request) -> Any:
    """Whether pictures can be inspected: the database answers and the detectors are loaded."""
    server = server_of(request)
    try:
        with server.database.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return problem(503, "the database cannot be reached", Retry_After="5")
    if not server.ready:
        return problem(503, "the detectors are being loaded", Retry_After="2")
    return {"status": "ready"}


@router.get("/metrics", openapi_extra=needs("operator"), response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Requests, latency, queue, verdicts and drift, in Prometheus' format."""
    return Response(server_of(request).metrics.text(), media_type="text/plain; version=0.0.4")
