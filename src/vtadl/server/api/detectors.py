"""Routes of detectors: what there is, which version judges, and what drifts."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from vtadl.server.api.inspections import Name
from vtadl.server.problems import ConflictError
from vtadl.server.schemas import DetectorAnswer, VersionAnswer, version_answer
from vtadl.server.security import needs
from vtadl.server.server import server_of
from vtadl.server.tables import Detector, Version
from vtadl.server.versions import activate, active_version, one_version, versions_of

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
router = APIRouter(prefix="/v1/detectors", tags=["detectors"])


@router.get("", openapi_extra=needs("operator"))
def detectors(request: Request) -> list[DetectorAnswer]:
    """All detectors by name."""
    with server_of(request).database.read() as session:
        names = session.scalars(select(Detector.name).order_by(Detector.name)).all()
        found = [active_version(session, name) for name in names]
        return [
            DetectorAnswer(name=one.detector, active=one.number, version=version_answer(one, one.number))
            for one in found
        ]


@router.get("/{name}", openapi_extra=needs("operator"))
def detector(request: Request, name: Name) -> DetectorAnswer:
    """One detector: what it is, and its decision card."""
    with server_of(request).database.read() as session:
        one = active_version(session, name)
        return DetectorAnswer(name=name, active=one.number, version=version_answer(one, one.number))


@router.get("/{name}/versions", openapi_extra=needs("operator"))
def versions(request: Request, name: Name) -> list[VersionAnswer]:
    """Every version, the newest first."""
    with server_of(request).database.read() as session:
        active = active_version(session, name).number
        return [version_answer(one, active) for one in versions_of(session, name)]


@router.post("/{name}/versions/{number}/activation", openapi_extra=needs("engineer"))
async def activation(request: Request, name: Name, number: Number) -> VersionAnswer:
    """Let a version judge from now on."""
    return await change_active(request, name, number)


@router.post("/{name}/rollback", openapi_extra=needs("engineer"))
async def rollback(request: Request, name: Name) -> VersionAnswer:
    """Let the version before the active one judge from now on."""
    number = (await run_in_threadpool(detector, request, name)).active - 1
    if number < 1:
        raise ConflictError(f"version 1 of '{name}' judges, and there is none before it")
    return await change_active(request, name, number)


async def change_active(request: Request, name: str, number: int) -> VersionAnswer:
    """Load a version, then let it judge: the next picture does not wait for it."""
    server = server_of(request)

    def find() -> Version:
        with server.database.read() as session:
            return one_version(session, name, number)

    def let() -> VersionAnswer:
        with server.database.write() as session:
            return version_answer(activate(session, name, number, request.state.principal.name), number)

    version = await run_in_threadpool(find)
    await server.scorer.warm(str(server.storage.root / version.folder))
    return await run_in_threadpool(let)
