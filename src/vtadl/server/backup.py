"""One file that holds everything: made while the server runs, and put back into an empty folder."""

import sqlite3
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

from vtadl.errors import BundleError, DataError
from vtadl.server.settings import Settings
from vtadl.server.storage import Storage

DATABASE, FOLDERS = "vtadl.sqlite", ("pictures", "maps", "versions", "trainings")


def back_up(settings: Settings, target: Path) -> None:
    """Write a backup; it appears whole or not at all.

    The database is copied first. A picture is in its place before its row is written, so every row has its picture.

    Raises:
        DataError: the database is PostgreSQL, which has tools of its own.
        BundleError: the file exists, or cannot be written.
    """
    source = settings.data / DATABASE
    if settings.database is not None or not source.exists():
        raise DataError(
            f"--backup takes a server's SQLite in '{settings.data}'; of PostgreSQL take pg_dump and the folder"
        )
    if target.exists():
        raise BundleError(f"'{target}' exists already; choose another name")
    partial = target.with_name(f".{target.name}.partial")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / DATABASE
            with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(copy)) as new:
                old.backup(new)
            with tarfile.open(partial, "w") as archive:
                archive.add(copy, DATABASE)
                for folder in FOLDERS:
                    _add(archive, settings.data, folder)
        partial.replace(target)
    except OSError as error:
        raise BundleError(f"cannot write '{target}': {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def restore(settings: Settings, source: Path) -> None:
    """Put a backup into an empty data folder.

    Raises:
        BundleError: the folder holds something, or the file is no backup.
    """
    root = settings.data.absolute()
    if root.exists() and any(root.iterdir()):
        raise BundleError(f"'{settings.data}' is not empty; restore into a new folder: --data DIR")
    root.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(source) as archive:
            if DATABASE not in archive.getnames():
                raise BundleError(f"'{source}' is no backup of vtadl serve; expected what --backup wrote")
            archive.extractall(root, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise BundleError(f"cannot restore '{source}': {error}; expected what --backup wrote") from error
    Storage(root)


def _add(archive: tarfile.TarFile, root: Path, folder: str) -> None:
    for path in (root / folder).rglob("*"):
        if path.is_file():
            try:
                archive.add(path, str(path.relative_to(root)))
            except FileNotFoundError:
                continue  # It was removed meanwhile.
