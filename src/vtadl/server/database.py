"""Connections to SQLite or PostgreSQL, and the tables brought up to date."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from vtadl.errors import ConfigError, DataError

BUSY_SECONDS = 30
POOL, OVERFLOW = 16, 32
MIGRATION_LOCK = 7_684_235
"""Of PostgreSQL's advisory locks: servers that start together migrate one after the other."""
_migrating = threading.Lock()


class Database:
    """Sessions that read, and sessions whose block is one durable transaction."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ConfigError(
                f"--database '{url}' is no address; expected postgresql+psycopg://USER@HOST/NAME"
            ) from error
        self.kind = parsed.get_backend_name()
        if self.kind not in ("sqlite", "postgresql"):
            raise ConfigError(
                f"--database is of kind '{self.kind}'; expected postgresql+psycopg://... or sqlite:///FILE"
            )
        self.engine = create_engine(parsed, pool_pre_ping=True, pool_size=POOL, max_overflow=OVERFLOW)
        if self.kind == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        # SQLite lets one writer in, and the others look again after pauses that grow: here they wait in line instead.
        self._turn = threading.Lock() if self.kind == "sqlite" else contextlib.nullcontext()
        self._reading = sessionmaker(self.engine, expire_on_commit=False)
        self._writing = sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that changes nothing."""
        with self._reading() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: durable when the block has ended well, and undone otherwise."""
        with self._turn, self._writing.begin() as session:
            yield session

    def migrate(self) -> None:
        """Bring the tables to this version.

        Raises:
            DataError: the database cannot be reached or changed.
        """
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with _migrating, self._writing.kw["bind"].begin() as connection:
                if self.kind == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            raise DataError(f"cannot open the database {self.engine.url.render_as_string()}: {reason}") from error

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions, in `_begin_sqlite`.
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={1000 * BUSY_SECONDS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: one that read first could not wait for another that wrote in between.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
