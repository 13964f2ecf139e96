"""Signing in with a token, and out."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from vtadl.server.pages.rendering import render, set_cookie
from vtadl.server.problems import OftenError, UnknownError
from vtadl.server.security import COOKIE, PUBLIC, begin_session, end_session, needs
from vtadl.server.server import server_of
from vtadl.server.texts import storable

router = APIRouter(include_in_schema=False)


@router.get("/sign-in", openapi_extra=needs(PUBLIC))
def sign_in_page(request: Request, next: Annotated[str, Query(max_length=500)] = "/") -> Response:
    """Ask for a token."""
    return render(request, "sign_in.html", next=next, wrong="", tab="")


@router.post("/sign-in", openapi_extra=needs(PUBLIC))
def sign_in(
    request: Request, token: Annotated[str, Form(max_length=200)], next: Annotated[str, Form(max_length=500)] = "/"
) -> Response:
    """Begin a session."""
    server = server_of(request)
    try:
        address = request.client.host if request.client else ""
        principal = server.guard.token_principal(storable(token.strip()), address)
    except (UnknownError, OftenError) as error:
        status = 429 if isinstance(error, OftenError) else 401
        return render(request, "sign_in.html", status, next=next, wrong=str(error), tab="")
    # Only a path of our own: "//elsewhere" would lead to another site.
    inside = next.startswith("/") and not next.startswith(("//", "/\\"))
    answer = RedirectResponse(next if inside else "/", 303)
    set_cookie(request, answer, begin_session(server.database, principal.name))
    return answer


@router.post("/sign-out", openapi_extra=needs(PUBLIC))
def sign_out(request: Request) -> Response:
    """End a session."""
    end_session(server_of(request).database, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer
