"""Settings: tokens, retention, webhooks, and the audit of who did what."""

import secrets
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import AfterValidator
from sqlalchemy import delete, func, select

from vtadl.errors import ConfigError
from vtadl.server import retention
from vtadl.server.pages.rendering import render
from vtadl.server.retention import read_rule
from vtadl.server.security import ROLES, add_token, needs, remove_token
from vtadl.server.server import server_of
from vtadl.server.tables import Act, Choice, Delivery, Token, Webhook, now_ms
from vtadl.server.texts import Text, storable
from vtadl.server.webhooks import check_address, shown_address

SHOWN_ACTS = 100
Short = Annotated[str, Form(max_length=100), AfterValidator(storable)]
Role = Literal["operator", "engineer", "admin"]
router = APIRouter(include_in_schema=False, prefix="/settings")


@router.get("", openapi_extra=needs("admin"))
def settings(request: Request) -> Response:
    """Everything that can be chosen."""
    return _page(request)


@router.post("/tokens", openapi_extra=needs("admin"))
def new_token(request: Request, name: Short, role: Annotated[Role, Form()]) -> Response:
    """Make a token, and show it once."""
    token = add_token(server_of(request).database, name, role, by=request.state.principal.name)
    return _page(request, token=token)


@router.post("/tokens/removal", openapi_extra=needs("admin"))
def old_token(request: Request, name: Short) -> Response:
    """Take a token away."""
    remove_token(server_of(request).database, name, by=request.state.principal.name)
    return _back()


@router.post("/retention", openapi_extra=needs("admin"))
def keep(request: Request, days: Short = "", gigabytes: Short = "") -> Response:
    """Choose how long pictures are kept."""
    value = {"days": _amount(days, "days"), "gigabytes": _amount(gigabytes, "gigabytes")}
    with server_of(request).database.write() as session:
        session.merge(Choice(name=retention.NAME, value=value))
        session.add(_act(request, "retention", str(value)))
    return _back()


@router.post("/webhooks", openapi_extra=needs("admin"))
def new_webhook(
    request: Request,
    url: Annotated[Text, Form()],
    verdict: Annotated[list[Literal["good", "review", "defective"]] | None, Form()] = None,
) -> Response:
    """Tell an address of inspections."""
    check_address(url)
    secret = secrets.token_urlsafe(32)
    with server_of(request).database.write() as session:
        session.add(Webhook(url=url, secret=secret, verdicts=list(verdict or ())))
        session.add(_act(request, "webhook added", shown_address(url)))
    return _page(request, secret="" if url.startswith("mqtt") else secret)


@router.post("/webhooks/{hook}/removal", openapi_extra=needs("admin"))
def old_webhook(request: Request, hook: Annotated[int, Path(ge=1, le=2**31 - 1)]) -> Response:
    """Tell an address no longer."""
    with server_of(request).database.write() as session:
        session.execute(delete(Delivery).where(Delivery.webhook == hook))
        session.execute(delete(Webhook).where(Webhook.id == hook))
        session.add(_act(request, "webhook removed", str(hook)))
    return _back()


@router.get("/audit", openapi_extra=needs("admin"))
def audit(request: Request, before: Annotated[int, Query(ge=1, le=2**31 - 1)] = 2**31 - 1) -> Response:
    """Who did what."""
    with server_of(request).database.read() as session:
        asked = select(Act).where(Act.id < before).order_by(Act.id.desc()).limit(SHOWN_ACTS)
        acts = session.scalars(asked).all()
    following = acts[-1].id if len(acts) == SHOWN_ACTS else None
    return render(request, "audit.html", acts=acts, following=following, tab="settings")


def _page(request: Request, **shown: Any) -> Response:
    with server_of(request).database.read() as session:
        waiting = select(Delivery.webhook, func.count(), func.max(Delivery.error)).group_by(Delivery.webhook)
        values: dict[str, Any] = {
            "tokens": session.scalars(select(Token).order_by(Token.name)).all(),
            "hooks": [
                (one.id, shown_address(one.url)) for one in session.scalars(select(Webhook).order_by(Webhook.id))
            ],
            "waiting": {hook: (count, error) for hook, count, error in session.execute(waiting)},
            "rule": read_rule(session),
        }
    return render(
        request, "settings.html", **{"token": "", "secret": "", **shown}, **values, roles=ROLES, tab="settings"
    )


def _back() -> RedirectResponse:
    return RedirectResponse("/settings", 303)


def _act(request: Request, act: str, what: str) -> Act:
    return Act(at_ms=now_ms(), by=request.state.principal.name, act=act, what=what)


def _amount(text: str, what: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ConfigError(f"{what} is '{text}'; expected a number above 0, or nothing")
    return value
