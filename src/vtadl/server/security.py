"""Who may do what: tokens, sessions, roles, and forms that only our own pages can send."""

import hashlib
import hmac
import secrets
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from urllib.parse import urlsplit

import argon2
from fastapi import Request
from sqlalchemy import delete, select
from starlette.concurrency import run_in_threadpool

from vtadl.errors import ConfigError
from vtadl.server.database import Database
from vtadl.server.problems import ForbiddenError, OftenError, UnknownError
from vtadl.server.tables import Act, Session, Token, now_ms

ROLES = ("operator", "engineer", "admin")
"""Each may do what those before it may."""
PUBLIC = "nobody"
ROLE_KEY = "x-role"
COOKIE = "vtadl_session"
SESSION_MS = 12 * 3_600_000
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FAILURES, WINDOW_SECONDS = 5, 60
SAFE = ("GET", "HEAD", "OPTIONS")
_hasher = argon2.PasswordHasher()


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Somebody, and what they may do."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether they may do what this role may."""
        return role == PUBLIC or (self.role in ROLES and ROLES.index(self.role) >= ROLES.index(role))


NOBODY = Principal(name="", role=PUBLIC)


def needs(role: str) -> dict[str, str]:
    """What a route declares, as its ``openapi_extra``; one that declares nothing is for admins."""
    return {ROLE_KEY: role}


def add_token(database: Database, name: str, role: str, by: str) -> str:
    """Make a token; what is returned is shown once and stored nowhere.

    Raises:
        ConfigError: the name is taken or empty, or the role is unknown.
    """
    if role not in ROLES:
        raise ConfigError(f"unknown role '{role}'; choose from: {', '.join(ROLES)}")
    if not (0 < len(name) <= 100 and name.isprintable()):
        raise ConfigError("a token's name has 1 to 100 characters; give another")
    key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    with database.write() as session:
        if session.get(Token, name) is not None:
            raise ConfigError(f"there is a token '{name}' already; remove it first, or choose another name")
        at = now_ms()
        session.add(Token(name=name, role=role, key=key, hash=_hasher.hash(secret), created_ms=at))
        session.add(Act(at_ms=at, by=by, act="token added", what=f"{name}: {role}"))
    return f"vtadl_{key}_{secret}"


def remove_token(database: Database, name: str, by: str) -> None:
    """Take a token and its sessions away.

    Raises:
        ConfigError: there is none of this name.
    """
    with database.write() as session:
        session.execute(delete(Session).where(Session.token == name))
        if session.execute(delete(Token).where(Token.name == name)).rowcount == 0:  # type: ignore[attr-defined]
            raise ConfigError(f"there is no token '{name}'; the page Settings lists them")
        session.add(Act(at_ms=now_ms(), by=by, act="token removed", what=name))


def has_tokens(database: Database) -> bool:
    """Whether anybody needs one."""
    with database.read() as session:
        return session.scalar(select(Token.name).limit(1)) is not None


class Guard:
    """Finds out who sends a request, and refuses what they may not do."""

    def __init__(self, database: Database, host: str) -> None:
        self._database, self._local = database, host in LOOPBACK
        self._verified: dict[str, str] = {}
        self._failures: defaultdict[str, deque[float]] = defaultdict(deque)

    async def check(self, request: Request) -> None:
        """Let a request through, or raise; ``request.state.principal`` says who sends it.

        Raises:
            UnknownError: a token is needed, and there is none or a wrong one.
            ForbiddenError: the role does not suffice, or another site's page sends the request.
            OftenError: too many wrong tokens came from there.
        """
        needed = (getattr(request.scope.get("route"), "openapi_extra", None) or {}).get(ROLE_KEY, "admin")
        principal = await run_in_threadpool(self.identify, request)
        request.state.principal = principal
        if not principal.may(needed):
            if principal is NOBODY:
                raise UnknownError("a token is needed: sign in, or send the header Authorization: Bearer TOKEN")
            raise ForbiddenError(f"'{principal.name}' is {principal.role}; this takes the role {needed}")
        if request.method not in SAFE and "authorization" not in request.headers:
            await self._check_origin(request)

    def identify(self, request: Request) -> Principal:
        """Who sends a request."""
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        if value and kind.lower() == "bearer":
            return self.token_principal(value.strip(), _address(request))
        cookie = request.cookies.get(COOKIE)
        if cookie:
            with self._database.read() as session:
                asked = select(Token).join(Session, Session.token == Token.name)
                token = session.scalar(asked.where(Session.hash == _sha256(cookie), Session.until_ms > now_ms()))
            if token is not None:
                return Principal(name=token.name, role=token.role)
        if self._local and not has_tokens(self._database):
            if _host(request) not in LOOPBACK:
                raise ForbiddenError(f"without a token the server answers at {LOOPBACK[0]} only; add one")
            return Principal(name="local", role="admin")
        return NOBODY

    def token_principal(self, text: str, address: str) -> Principal:
        """Who has this token.

        Raises:
            UnknownError: nobody.
            OftenError: too many wrong ones came from this address.
        """
        key, _, secret = text.removeprefix("vtadl_").partition("_")
        with self._database.read() as session:
            token = session.scalar(select(Token).where(Token.key == key)) if key.isalnum() else None
        # Argon2 takes a tenth of a second by design: a secret that was right is known by a fast hash, in memory only.
        if token is None or not hmac.compare_digest(self._verified.get(token.hash, ""), _sha256(secret)):
            self._verify(token, secret, self._failures[address])
        assert token is not None
        return Principal(name=token.name, role=token.role)

    def _verify(self, token: Token | None, secret: str, failures: deque[float]) -> None:
        while failures and failures[0] < time.monotonic() - WINDOW_SECONDS:
            failures.popleft()
        if len(failures) >= FAILURES:
            raise OftenError(f"{FAILURES} wrong tokens within {WINDOW_SECONDS} s; wait a minute")
        try:
            if token is None:
                raise argon2.exceptions.VerifyMismatchError
            _hasher.verify(token.hash, secret)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError) as error:
            failures.append(time.monotonic())
            raise UnknownError("the token is not known; ask an admin for one") from error
        self._verified[token.hash] = _sha256(secret)

    async def _check_origin(self, request: Request) -> None:
        """Refuse what a page of another site makes a browser send."""
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise ForbiddenError("the request comes from a page of another site")
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            if origin is not None or request.headers.get("sec-fetch-site") not in (None, "same-origin"):
                raise ForbiddenError("a page sends the request, without its cookie; load the page again")
            return
        sent = request.headers.get("x-csrf-token")
        if sent is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            sent = str((await request.form()).get("csrf", ""))
        if not hmac.compare_digest((sent or "").encode(), csrf_token(cookie).encode()):
            raise ForbiddenError("the form is too old or not ours; load the page again")


def csrf_token(cookie: str) -> str:
    """What the forms of a session carry: other sites' pages can neither read nor guess it."""
    return hmac.new(cookie.encode(), b"csrf", hashlib.sha256).hexdigest()


def begin_session(database: Database, token: str) -> str:
    """Remember somebody who signed in; the value of their cookie."""
    cookie = secrets.token_urlsafe(32)
    with database.write() as session:
        session.execute(delete(Session).where(Session.until_ms < now_ms()))
        session.add(Session(hash=_sha256(cookie), token=token, until_ms=now_ms() + SESSION_MS))
        session.add(Act(at_ms=now_ms(), by=token, act="signed in", what=""))
    return cookie


def end_session(database: Database, cookie: str) -> None:
    """Forget somebody who signs out."""
    with database.write() as session:
        session.execute(delete(Session).where(Session.hash == _sha256(cookie)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _host(request: Request) -> str:
    return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
