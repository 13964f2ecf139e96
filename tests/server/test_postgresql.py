"""The same on PostgreSQL: a server of its own on a free port, as an ordinary user, stopped and started under load."""

import pytest

from helpers.postgresql import BINARIES, postgresql_server
from helpers.server_client import DEFECTIVE, GOOD, send
from helpers.server_process import ForkedServer, check_nothing_lost, kill_under_load
from vtadl.server.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BINARIES is None, reason="there is no PostgreSQL in /usr/lib/postgresql; apt-get install postgresql"
    ),
]


@pytest.fixture(scope="module")
def postgresql():
    with postgresql_server() as server:
        yield server


@pytest.fixture
def empty(postgresql):
    return postgresql.empty()


def test_two_servers_share_a_database_and_a_folder(serve, empty, tmp_path):
    one, other = (serve(database=empty) for _ in range(2))
    key = {"Idempotency-Key": "k"}
    first = send(one, DEFECTIVE, headers=key, tag="a").json()
    assert send(other, DEFECTIVE, headers=key, tag="a").json() == first
    (found,) = other.get("/v1/inspections", params={"tag": "a", "verdict": "defective"}).json()["inspections"]
    assert other.get(found["links"]["image"]).content == DEFECTIVE
    assert other.put(f"/v1/inspections/{found['id']}/label", json={"label": "good"}).json()["corrected"]
    assert one.get("/history").status_code == 200
    assert Settings(data=tmp_path, database=empty).database_url == empty


def test_a_database_that_is_away_is_503_and_comes_back(serve, postgresql, empty):
    client = serve(database=empty)
    assert send(client, GOOD).status_code == 201
    postgresql.stop()
    try:
        answer = send(client, GOOD)
        assert answer.status_code == 503 and answer.headers["retry-after"]
        assert client.get("/readyz").status_code == 503
    finally:
        postgresql.start()
    assert send(client, GOOD).status_code == 201
    assert len(client.get("/v1/inspections").json()["inspections"]) == 2


@pytest.mark.timeout(1800)
def test_kill_9_at_200_moments(export_folder, empty, tmp_path):
    server = ForkedServer(tmp_path / "data", [export_folder], "--workers", "0", "--database", empty)
    try:
        acknowledged = kill_under_load(server, kills=200, seconds=(0.0, 1.0), seed=2)
        assert len(acknowledged) >= 100
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()
