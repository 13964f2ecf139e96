"""Who may do what: every route with every role, tokens, sessions, forms, and what browsers are told."""

import re

import pytest

from helpers.server_client import DEFECTIVE, GOOD, NAME, send
from vtadl.server.security import FAILURES, PUBLIC, ROLE_KEY, ROLES, add_token, csrf_token, remove_token


@pytest.fixture
def tokens(client):
    database = client.app.state.server.database
    return {role: add_token(database, role, role, by="test") for role in ROLES}


def bearer(token: str) -> dict:
    return {"Authorization": f"Bearer {token}"}


def routes(client):
    """Every route of ours with a method and an address that fits its pattern."""
    # Newer FastAPI keeps an included router whole.
    flat = [
        one
        for route in client.app.routes
        for one in getattr(getattr(route, "original_router", None), "routes", [route])
    ]
    values = {"name": NAME, "number": "1", "identifier": "0" * 32, "sample": "0", "hook": "1", "token": "x"}
    for route in flat:
        for method in sorted(getattr(route, "methods", None) or ()):
            extra = getattr(route, "openapi_extra", None)
            if extra is not None or hasattr(route, "dependant"):
                path = re.sub(r"\{(\w+)[^}]*\}", lambda match: values[match[1]], route.path)
                yield method, path, route.path, (extra or {}).get(ROLE_KEY)


def test_every_route_asks_for_its_role(client, tokens):
    walked, described = 0, set()
    for method, path, pattern, needed in routes(client):
        described.add((method, pattern))
        assert needed in (PUBLIC, *ROLES), f"{method} {path} declares no role"
        if path in ("/sign-in", "/sign-out"):
            continue
        for role in (None, *ROLES):
            headers = {} if role is None else bearer(tokens[role])
            status = client.request(method, path, headers=headers).status_code
            if needed == PUBLIC or (role is not None and ROLES.index(role) >= ROLES.index(needed)):
                assert status not in (401, 403), f"{role}: {method} {path}"
            else:
                assert status == (401 if role is None else 403), f"{role}: {method} {path}"
            walked += 1
    assert walked > 60
    assert described >= {(m.upper(), p) for p, methods in client.app.openapi()["paths"].items() for m in methods}


def test_a_removed_token_opens_nothing(client, tokens):
    assert client.get("/v1/detectors", headers=bearer(tokens["operator"])).status_code == 200
    remove_token(client.app.state.server.database, "operator", by="test")
    assert client.get("/v1/detectors", headers=bearer(tokens["operator"])).status_code == 401


def test_wrong_tokens_are_limited(client, tokens):
    for _ in range(FAILURES):
        assert client.get("/v1/detectors", headers=bearer(tokens["admin"] + "x")).status_code == 401
    refused = client.get("/v1/detectors", headers=bearer(tokens["admin"]))
    assert refused.status_code == 429 and refused.headers["retry-after"] == "60"


def test_signing_in_needs_our_own_form(client, tokens):
    assert client.get("/history", headers={"accept": "text/html"}, follow_redirects=False).headers["location"] == (
        "/sign-in?next=/history"
    )
    page = client.get("/sign-in").text
    csrf = re.search(r'name="csrf" value="(\w+)"', page)[1]
    form = {"token": tokens["operator"], "next": "//evil.example"}
    assert client.post("/sign-in", data=form).status_code == 403
    wrong = client.post("/sign-in", data={**form, "csrf": csrf, "token": "vtadl_no_no"})
    assert wrong.status_code == 401 and "not known" in wrong.text
    answer = client.post("/sign-in", data={**form, "csrf": csrf}, follow_redirects=False)
    assert answer.headers["location"] == "/"
    assert "HttpOnly" in answer.headers["set-cookie"] and "SameSite=lax" in answer.headers["set-cookie"]
    assert client.get("/history").status_code == 200
    assert send(client, GOOD).status_code == 403
    own = {"X-CSRF-Token": csrf_token(client.cookies["vtadl_session"])}
    assert send(client, GOOD, headers=own).json()["inspections"][0]["by"] == "operator"
    client.post("/sign-out", headers=own)
    assert client.get("/history", follow_redirects=False).status_code == 401


def test_without_tokens_other_sites_can_do_nothing(client):
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert send(client, DEFECTIVE, headers=headers).status_code == 403
    assert client.get("/history", headers={"Host": "evil.example"}).status_code == 403


def test_browsers_are_told_to_run_our_scripts_only(client):
    answer = client.get("/")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", answer.text)


def test_names_are_shown_and_never_paths(client, tmp_path):
    files = [("images", ("../../<b>evil</b>\n.png", GOOD, "image/png"))]
    (one,) = client.post(f"/v1/detectors/{NAME}/inspections", files=files).json()["inspections"]
    assert "/" not in one["name"]
    page = client.get(f"/inspections/{one['id']}").text
    assert "<b>" not in page
    assert not list(tmp_path.rglob("*evil*"))
