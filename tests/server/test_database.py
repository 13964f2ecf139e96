"""The migrations make the tables that the program expects, and a writer waits for another."""

import threading
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from vtadl.errors import ConfigError
from vtadl.server.database import Database
from vtadl.server.tables import Act, Base, first_id, new_id


@pytest.fixture
def database(tmp_path):
    with closing(Database(f"sqlite:///{tmp_path}/test.sqlite")) as database:
        database.migrate()
        yield database


def test_migrations_make_the_tables_of_the_program(database):
    database.migrate()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_commit_is_durable_and_writers_wait(database):
    with database.read() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"

    def write(number):
        for _ in range(10):
            with database.write() as session:
                count = session.query(Act).count()
                session.add(Act(at_ms=count, by=str(number), act="", what=""))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert sorted(act.at_ms for act in session.query(Act)) == list(range(40))


def test_a_block_that_fails_changes_nothing(database):
    def fail():
        with database.write() as session:
            session.add(Act(at_ms=0, by="", act="", what=""))
            session.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with database.read() as session:
        assert session.query(Act).count() == 0


def test_ids_sort_by_time():
    ids = [new_id(at) for at in (0, 1, 1_700_000_000_000, 1_900_000_000_000)]
    assert ids == sorted(ids) and all(len(one) == 32 for one in ids)
    assert first_id(1) <= ids[1] < first_id(2)
    assert first_id(-5) == "0" * 32


@pytest.mark.parametrize("url", ["nonsense", "mysql://x"])
def test_other_databases_are_refused(url):
    with pytest.raises(ConfigError, match="postgresql"):
        Database(url)
