"""Folders that appear whole or not at all, and never in place of what vtadl did not write."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vtadl.errors import BundleError
from vtadl.runs.ownership import check_unlocked, foreign_file
from vtadl.runs.record import RECORD_FILE, is_unfinished, so_far

SAMPLES_FILE = "samples.json"
"""In a folder of generated images (`vtadl.inference.generate`)."""


@contextmanager
def new_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and is removed otherwise.

    Raises:
        BundleError: ``folder`` exists (and no ``force``), or its place cannot be written.
    """
    check_free(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name[:20]}.partial-", dir=folder.parent))
    except OSError as error:
        raise BundleError(f"cannot write to '{folder.parent}': {error.strerror}") from error
    try:
        yield partial
        partial.chmod(0o755)
        _replace(partial, folder)
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
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name[:20]}.old-", dir=folder.parent))
    folder.replace(old)
    partial.rename(folder)
    shutil.rmtree(old)
