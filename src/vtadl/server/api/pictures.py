"""Routes of an inspection's pictures. They never change, so browsers may keep them."""

import io

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from PIL import Image

from vtadl.server.api.inspections import Identifier, found
from vtadl.server.detectors import heat, photo
from vtadl.server.problems import NotFoundError
from vtadl.server.security import needs
from vtadl.server.server import Server, server_of
from vtadl.server.storage import MEDIA_TYPES
from vtadl.server.tables import Inspection
from vtadl.server.versions import one_version

KEEP = {"Cache-Control": "private, max-age=31536000, immutable"}
THUMBNAIL = 240
router = APIRouter(prefix="/v1/inspections/{identifier}", tags=["pictures"])


@router.get("/image", openapi_extra=needs("operator"), response_class=FileResponse)
def image(request: Request, identifier: Identifier) -> Response:
    """The picture as it was sent."""
    server, row = _kept(request, identifier)
    return FileResponse(server.storage.picture(row.id, row.kind), media_type=MEDIA_TYPES[row.kind], headers=KEEP)


@router.get("/map", openapi_extra=needs("operator"), response_class=FileResponse)
def anomaly_map(request: Request, identifier: Identifier) -> Response:
    """The anomaly map: TIFF, 32-bit float, at most 256 pixels a side."""
    server, row = _kept(request, identifier)
    return FileResponse(server.storage.map(row.id), media_type="image/tiff", headers=KEEP)


@router.get("/view", openapi_extra=needs("operator"), response_class=Response)
def view(request: Request, identifier: Identifier) -> Response:
    """The picture as a browser shows it, upright and with eight bits a channel."""
    server, row = _kept(request, identifier)
    if row.kind in ("png", "jpg", "webp") and not row.deep:
        return image(request, identifier)
    return _encoded(photo(server.storage.picture(row.id, row.kind)), "PNG")


@router.get("/heat", openapi_extra=needs("operator"), response_class=Response)
def heat_layer(request: Request, identifier: Identifier) -> Response:
    """The heat map alone, transparent where the part looks normal."""
    server, row = _kept(request, identifier)
    return _encoded(_heat(server, row), "PNG")


@router.get("/overlay", openapi_extra=needs("operator"), response_class=Response)
def overlay(request: Request, identifier: Identifier) -> Response:
    """The heat map over the photo in grey."""
    server, row = _kept(request, identifier)
    picture = photo(server.storage.picture(row.id, row.kind)).convert("L").convert("RGB")
    layer = _heat(server, row).resize(picture.size, Image.Resampling.BILINEAR)
    picture.paste(layer, mask=layer.getchannel("A"))
    return _encoded(picture, "PNG")


@router.get("/thumbnail", openapi_extra=needs("operator"), response_class=Response)
def thumbnail(request: Request, identifier: Identifier) -> Response:
    """A small picture for lists."""
    server, row = _kept(request, identifier)
    stored = server.storage.thumbnail(row.id)
    if stored.exists():
        return FileResponse(stored, media_type="image/jpeg", headers=KEEP)
    picture = photo(server.storage.picture(row.id, row.kind))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    answer = _encoded(picture, "JPEG")
    server.storage.keep_thumbnail(row.id, bytes(answer.body))
    return answer


def _kept(request: Request, identifier: str) -> tuple[Server, Inspection]:
    server = server_of(request)
    with server.database.read() as session:
        row = found(session.get(Inspection, identifier), identifier)
    if not row.kept:
        raise NotFoundError("the pictures of this inspection were removed by the retention rule")
    return server, row


def _heat(server: Server, row: Inspection) -> Image.Image:
    with server.database.read() as session:
        low, high = one_version(session, row.detector, row.version).description["colours"]
    return heat(server.storage.map(row.id), low, high, (row.width, row.height))


def _encoded(picture: Image.Image, kind: str) -> Response:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 80} if kind == "JPEG" else {"compress_level": 1}))
    return Response(buffer.getvalue(), media_type=f"image/{kind.lower()}", headers=KEEP)
