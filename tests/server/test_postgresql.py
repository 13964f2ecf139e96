"""The same on PostgreSQL: a server of its own on a free port, as an ordinary user, stopped and started under load."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from helpers.server_client import DEFECTIVE, GOOD, send
from helpers.server_process import ServerProcess, check_nothing_lost, kill_under_load
from vtadl.server.database import Database
from vtadl.server.settings import Settings

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
ORDINARY_USER = "postgres"
pytestmark = pytest.mark.slow


class PostgreSQL:
    """A PostgreSQL server in a folder that goes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://vtadl@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        as_user = {"user": ORDINARY_USER, "group": ORDINARY_USER} if os.geteuid() == 0 else {}
        done = subprocess.run(
            [f"{BINARIES}/{program}", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=120,
            **as_user,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-o", options, "-l", f"{self.folder}/log", "-w", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="module")
def postgresql():
    if BINARIES is None:
        pytest.skip("there is no PostgreSQL in /usr/lib/postgresql; apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="vtadl-pg-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam(ORDINARY_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = PostgreSQL(folder)
    try:
        server.run("initdb", "-D", f"{folder}/data", "-U", "vtadl", "-A", "trust", "-E", "UTF8")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty(postgresql):
    """An empty database."""
    with closing(Database(postgresql.url)) as database, database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    return postgresql.url


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
def test_kill_9_under_load(export_folder, empty, tmp_path):
    server = ServerProcess(tmp_path / "data", [export_folder], "--workers", "0", "--database", empty)
    try:
        acknowledged = kill_under_load(server, kills=10, seconds=(0.0, 1.0), seed=2)
        assert acknowledged
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()
