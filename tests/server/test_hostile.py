"""Whatever is sent, the answer is one that the document describes, never a 500, and the server keeps running."""

import os

import pytest

from helpers.server_client import GOOD, NAME, send
from helpers.server_hostile import send_broken, try_document

FEW, MANY = 40, 2000
EXAMPLES = int(os.environ.get("VTADL_EXAMPLES", "5000"))


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
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    assert len(try_document(client, EXAMPLES)) > 15
