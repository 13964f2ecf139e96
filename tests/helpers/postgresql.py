"""A PostgreSQL server of the tests' own: on a free port, as an ordinary user, in a folder that goes with it."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vtadl.server.database import Database

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
ORDINARY_USER = "postgres"


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

    def empty(self) -> str:
        """Empty the database; its address."""
        with closing(Database(self.url)) as database, database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        return self.url


@contextmanager
def postgresql_server() -> Iterator[PostgreSQL]:
    """One that runs."""
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
