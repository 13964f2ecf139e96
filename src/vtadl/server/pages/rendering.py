"""Templates, and what every page knows: who looks, in which language, with which form token."""

import secrets
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vtadl.server.language import preferred, translations
from vtadl.server.schemas import moment
from vtadl.server.security import COOKIE, csrf_token
from vtadl.server.server import server_of
from vtadl.version import __version__

TEMPLATES = Path(__file__).parents[1] / "templates"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = moment
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.4g}"
    return environment


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page or a fragment of one."""
    language = preferred(request.headers.get("accept-language", ""))
    cookie = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
    text = (
        _environment()
        .get_template(template)
        .render(
            **values,
            _=translations(language).gettext,
            language=language,
            principal=request.state.principal,
            path=request.url.path,
            csrf=csrf_token(cookie),
            version=__version__,
        )
    )
    answer = HTMLResponse(text, status, headers={"Cache-Control": "no-store", "Vary": "Accept-Language, Cookie"})
    if COOKIE not in request.cookies:
        set_cookie(request, answer, cookie)
    return answer


def set_cookie(request: Request, answer: Any, cookie: str) -> None:
    """Give a browser its cookie, which scripts and other sites never see."""
    answer.set_cookie(COOKIE, cookie, httponly=True, samesite="lax", secure=server_of(request).settings.tls)
