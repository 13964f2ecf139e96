"""The API's description: the OpenAPI document, and a page of it that needs no internet."""

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from vtadl.server.pages.rendering import render
from vtadl.server.security import ROLE_KEY, needs

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json", openapi_extra=needs("operator"))
def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", openapi_extra=needs("operator"))
def docs(request: Request) -> Response:
    """The OpenAPI document to read."""
    document = request.app.openapi()
    operations = [
        {"method": method, "path": path, "role": operation.get(ROLE_KEY, "admin"), **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = {name: _shown(schema) for name, schema in document["components"]["schemas"].items()}
    return render(request, "docs.html", operations=operations, schemas=schemas, root=str(request.base_url), tab="docs")


def _shown(schema: dict[str, Any]) -> str:
    return json.dumps(schema.get("properties", schema), indent=1, ensure_ascii=False)
