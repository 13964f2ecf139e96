"""Whatever is sent, the answer is one that the document describes, never a 500, and the server keeps running."""

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from helpers.fuzzing import Change, _images, break_file
from helpers.server_client import GOOD, NAME, send

FEW, MANY = 40, 2000
EXAMPLES = int(os.environ.get("VTADL_EXAMPLES", "5000"))


def send_broken(client, count: int) -> set[int]:
    chance, seeds = random.Random(0), _images()
    statuses = set()
    for _ in range(count):
        _, content = chance.choice(seeds)
        changes = [Change(chance.randrange(2**16), chance.randrange(2**16), chance.randrange(2**16)) for _ in range(3)]
        statuses.add(send(client, break_file(content, changes)).status_code)
    return statuses


def test_broken_pictures(client, tmp_path):
    assert send_broken(client, FEW) <= {201, 413, 422}
    assert send(client, GOOD).status_code == 201
    assert not list((tmp_path / "data/incoming").iterdir())


@pytest.mark.slow
def test_many_broken_pictures(client):
    assert send_broken(client, MANY) <= {201, 413, 422}
    assert send(client, GOOD).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/inspections/" + "0" * 32 + "/label", b'{"label": "good", "note": "\\u0000"}'),
        ("PUT", "/v1/inspections/" + "0" * 32 + "/label", b'{"label": "good", "note": "\\ud800"}'),
        ("PUT", "/v1/inspections/" + "0" * 32 + "/label", b"[" * 100_000),
        ("GET", "/v1/inspections?batch=%00", b""),
        ("GET", "/v1/inspections?tag=%ff%fe", b""),
        ("GET", "/v1/inspections?since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", b""),
        ("GET", "/history?until=0001-01-01T00:00:00Z", b""),
        ("GET", "/history?until=9999-12-31T23:59:59Z", b""),
        ("GET", f"/v1/detectors/{NAME}/versions/99999999999999999999", b""),
        ("POST", f"/v1/detectors/{NAME}/versions/99999999999999999999/activation", b""),
        ("POST", f"/v1/detectors/{NAME}/inspections?part=%00", b""),
        ("POST", f"/v1/detectors/{NAME}/inspections", b"--X\r\nContent-Disposition: form-data"),
        ("GET", "/v1/detectors/..%2f..%2fetc", b""),
        ("GET", "/static/../app.py", b""),
        ("PUT", "/v1/trainings/x", b'{"folder": "/etc/passwd"}'),
        ("PUT", "/v1/trainings/x", b'{"folder": "a\\u0000b"}'),
        ("GET", "/samples/parts/-1", b""),
        ("GET", "/samples/parts/999999999999999999999999", b""),
    ],
)
def test_odd_requests_are_no_server_error(client, method, path, body):
    kind = "multipart/form-data; boundary=X" if path.endswith("inspections") else "application/json"
    answer = client.request(method, path, content=body, headers={"Content-Type": kind})
    assert answer.status_code in (200, 404, 405, 400, 422), answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_document_against_the_server(client):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    schema = schemathesis.openapi.from_dict(client.app.openapi())
    operations = [one.ok() for one in schema.get_all_operations()]
    for operation in operations:
        try_operation(client, operation, EXAMPLES // len(operations))


def try_operation(client, operation, examples: int) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        path, headers = case.formatted_path, dict(case.headers or {})
        answer = client.request(case.method, path, params=case.query or None, headers=headers, **_body(case))
        assert answer.status_code < 500, f"{case.method} {path} {case.query} {case.body!r}: {answer.text}"

    check()


def _body(case) -> dict:
    if case.media_type is None:
        return {}
    if case.media_type == "multipart/form-data":
        images = case.body.get("images", []) if isinstance(case.body, dict) else []
        return {
            "files": [("images", ("x.png", one if isinstance(one, bytes) else str(one).encode())) for one in images]
        }
    return {"json": case.body}
