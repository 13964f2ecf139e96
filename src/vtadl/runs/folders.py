"""Folders that appear whole or not at all, and never in place of what vtadl did not write."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vtadl.errors import BundleError
from vtadl.runs.ownership import check_unlocked, foreign_file, is_abandoned, owner_mark
from vtadl.runs.record import RECORD_FILE, is_unfinished, so_far

PARTIAL, OLD = "partial", "old"
"""Kinds of hidden folders: what is being written, and what it replaces."""
SAMPLES_FILE = "samples.json"
"""In a folder of generated images (`vtadl.inference.generate`)."""


@contextmanager
def new_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and is removed otherwise.

    What processes left beside it that were killed is removed first.

    Raises:
        BundleError: ``folder`` exists (and no ``force``), or its place cannot be written.
    """
    check_free(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder, PARTIAL)
        partial = _beside(folder, PARTIAL)
    except OSError as error:
        raise BundleError(f"cannot write to '{folder.parent}': {error.strerror}") from error
    try:
        yield partial
        partial.chmod(0o755)
        _replace(partial, folder)
        _sweep(folder, OLD)
    except OSError as error:
        raise BundleError(f"cannot write '{folder}': {error.strerror}; nothing was left behind") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds something already.

    Raises:
        BundleError: it does, and there is no ``force``; or it is a file; or, forced, it holds what vtadl did not write;
            or another process trains into it.
    """
    check_unlocked(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise BundleError(f"'{folder}' is a file; --out takes a folder")
    if not force and is_unfinished(folder):
        raise BundleError(
            f"'{folder}' is an unfinished training{so_far(folder)}; continue with --resume, or replace it with --force"
        )
    if not force:
        raise BundleError(f"'{folder}' exists already; choose another --out, or replace it with --force")
    known = (RECORD_FILE, SAMPLES_FILE, "manifest.json", "report.html", "predictions.jsonl")
    if not (is_unfinished(folder) or any((folder / name).exists() for name in known)):
        raise BundleError(f"'{folder}' was not written by vtadl, so --force does not replace it; choose another --out")
    foreign = foreign_file(folder)
    if foreign is not None:
        raise BundleError(
            f"'{foreign}' was not written by vtadl, so --force does not replace its folder; move it elsewhere, or "
            "choose another --out"
        )


def _replace(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    old = _beside(folder, OLD)
    folder.replace(old)
    partial.rename(folder)
    shutil.rmtree(old)


def _beside(folder: Path, kind: str) -> Path:
    """A new hidden folder, whose name says of which process it is."""
    return Path(tempfile.mkdtemp(prefix=f".{folder.name[:20]}.{kind}-{owner_mark()}", dir=folder.parent))


def _sweep(folder: Path, kind: str) -> None:
    """Remove the hidden folders of processes that are gone."""
    start = f".{folder.name[:20]}.{kind}-"
    with suppress(OSError):  # of a folder that may be written to and not listed
        for path in folder.parent.iterdir():
            if path.name.startswith(start) and is_abandoned(path.name.removeprefix(start)):
                shutil.rmtree(path, ignore_errors=True)
