"""Errors as problem+json (RFC 9457), with the one-line messages of the command line."""

import errno
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from vtadl.errors import VtadlError
from vtadl.server.scoring import FullError, WorkerError
from vtadl.server.storage import TooLargeError

MEDIA_TYPE = "application/problem+json"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DATABASE_FULL = ("disk is full", "no space left", "disk full", "could not extend file")
RETRY_SECONDS = 5
FULL = "the disk is full; nothing of this request was kept: make room, then send it again"
AWAY = "the database cannot be reached; nothing was acknowledged: try again"


class NotFoundError(VtadlError, RuntimeError):
    """Something that does not exist, or no longer."""


class ConflictError(VtadlError, RuntimeError):
    """A request that does not fit what is there."""


class ForbiddenError(VtadlError, RuntimeError):
    """A request that is not allowed for whoever sends it."""


class UnknownError(VtadlError, RuntimeError):
    """A request without a valid token, where one is needed."""


class OftenError(VtadlError, RuntimeError):
    """Too many wrong tokens in a short time."""


STATUS: dict[type[VtadlError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    ForbiddenError: 403,
    UnknownError: 401,
    OftenError: 429,
    FullError: 503,
    TooLargeError: 413,
    WorkerError: 500,
}


def problem(status: int, detail: str, **headers: str) -> JSONResponse:
    """An answer that says what is wrong."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(content, status, headers=named, media_type=MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Turn every error that a user can meet into a problem."""
    app.add_exception_handler(VtadlError, _expected)
    app.add_exception_handler(OSError, _system)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeoutError, _database)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def _expected(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 422)
    if status == 401:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"/sign-in?next={quote(request.url.path)}", 303)
        return problem(status, str(error), WWW_Authenticate="Bearer")
    if isinstance(error, FullError):
        return problem(status, str(error), Retry_After=str(error.retry_after))
    return problem(status, str(error), **({"Retry_After": "60"} if status == 429 else {}))


def _system(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return problem(507, FULL)
    raise error


def _database(request: Request, error: Exception) -> Response:
    reason = str(getattr(error, "orig", error)).lower()
    if any(sign in reason for sign in DATABASE_FULL):
        return problem(507, FULL)
    if isinstance(error, DBAPIError) and type(error).__name__ not in ("OperationalError", "InterfaceError"):
        raise error
    return problem(503, AWAY, Retry_After=str(RETRY_SECONDS))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return problem(422, f"{place}: {first['msg']}; see /docs")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem(404, f"there is nothing at '{request.url.path[:200]}'; see /docs")
    headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    return problem(error.status_code, str(error.detail), **headers)
