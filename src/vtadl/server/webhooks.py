"""Telling others of inspections: from a table, tried again with growing pauses until they are taken.

By HTTP a message is signed; by MQTT the broker's accounts and TLS say who sends.
"""

import hashlib
import hmac
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from vtadl.errors import ConfigError, DependencyError
from vtadl.server.database import Database
from vtadl.server.mqtt import PORTS, check_broker, publish
from vtadl.server.schemas import answer_of
from vtadl.server.tables import Delivery, Inspection, Webhook, now_ms

INTERVAL_SECONDS = 1.0
SECONDS = 10
LONGEST_PAUSE_MS = 3_600_000
MOST_TRIES = 60
"""Some two days; then a delivery is given up."""
AT_ONCE = 20
CLAIM_MS = 2 * 1000 * SECONDS * AT_ONCE
SIGNATURE = "X-Vtadl-Signature"


def queue_deliveries(session: Session, rows: Sequence[Inspection]) -> None:
    """Note in the transaction that stores inspections who is to be told of them."""
    hooks = session.scalars(select(Webhook)).all()
    session.add_all(
        Delivery(webhook=hook.id, inspection=row.id, tries=0, next_ms=row.created_ms)
        for hook in hooks
        for row in rows
        if not hook.verdicts or row.verdict in hook.verdicts
    )


def sign(secret: str, body: bytes) -> str:
    """What the header `SIGNATURE` holds: ``sha256=`` and the HMAC of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def pause_ms(tries: int) -> int:
    """How long to wait after so many failures: 2 s, 4 s, 8 s, ... an hour."""
    return min(1000 << min(tries, 30), LONGEST_PAUSE_MS)


def deliver_due(database: Database) -> int:
    """Send what is due now; how many were sent."""
    due = _claim(database)
    for delivery, hook, row in due:
        error = _send(hook, delivery, row)
        with database.write() as session:
            if error is None or delivery.tries + 1 >= MOST_TRIES:
                session.execute(delete(Delivery).where(Delivery.id == delivery.id))
                continue
            kept = session.get(Delivery, delivery.id)
            if kept is not None:
                kept.tries, kept.error = kept.tries + 1, error[:500]
                kept.next_ms = now_ms() + pause_ms(kept.tries)
    return len(due)


def _claim(database: Database) -> list[tuple[Delivery, Webhook, Inspection]]:
    """What is due, put off for a while, so that no other server sends it too; a kill only delays it."""
    asked = (
        select(Delivery, Webhook, Inspection)
        .join(Webhook, Webhook.id == Delivery.webhook)
        .join(Inspection, Inspection.id == Delivery.inspection)
        .where(Delivery.next_ms <= now_ms())
        .order_by(Delivery.id)
        .limit(AT_ONCE)
    )
    with database.read() as session:
        if session.scalar(select(Delivery.id).where(Delivery.next_ms <= now_ms()).limit(1)) is None:
            return []
    with database.write() as session:
        due = [
            (one[0], one[1], one[2]) for one in session.execute(asked.with_for_update(of=Delivery, skip_locked=True))
        ]
        for delivery, _, _ in due:
            delivery.next_ms = now_ms() + CLAIM_MS
    return due


def check_address(url: str) -> None:
    """Refuse an address that can never be told anything.

    Raises:
        ConfigError: it is none, or not of HTTP or MQTT.
        DependencyError: what it takes is not installed.
    """
    try:
        address = urlsplit(url, allow_fragments=False)
        known = address.scheme in ("http", "https", *PORTS) and address.hostname and address.port != 0
    except ValueError:
        known = False
    if not known:
        raise ConfigError(f"'{url[:200]}' is no address; expected http://, https://, mqtt:// or mqtts://")
    if address.scheme in PORTS:
        check_broker(address)


def shown_address(url: str) -> str:
    """An address without the password that it may hold."""
    address = urlsplit(url, allow_fragments=False)
    if address.password is None:
        return url
    return address._replace(netloc=address.netloc.replace(f":{address.password}@", ":…@")).geturl()


def _send(hook: Webhook, delivery: Delivery, row: Inspection) -> str | None:
    """Send one; what went wrong, if anything."""
    content: dict[str, Any] = {"delivery": delivery.id, "inspection": answer_of(row, ()).model_dump(mode="json")}
    body = json.dumps(content).encode()
    headers = {"Content-Type": "application/json", SIGNATURE: sign(hook.secret, body)}
    request = urllib.request.Request(hook.url, body, headers)  # noqa: S310 - the scheme is checked when it is added
    try:
        if (address := urlsplit(hook.url, allow_fragments=False)).scheme in PORTS:
            publish(address, body, SECONDS)
            return None
        with _opener.open(request, timeout=SECONDS) as answer:
            return None if 200 <= answer.status < 300 else f"answered {answer.status}"
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError, DependencyError) as error:
        return " ".join(str(error).split()) or type(error).__name__


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)
