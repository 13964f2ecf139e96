"""New versions of a detector, each a copy in the data folder: what judges is never changed in place.

A version is added when its folder is complete, so that a kill in between leaves nothing but a folder without a row.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, select
from starlette.concurrency import run_in_threadpool

from vtadl.errors import DataError
from vtadl.server.detectors import fingerprint
from vtadl.server.filters import Filters
from vtadl.server.problems import ConflictError
from vtadl.server.storage import Storage, sync
from vtadl.server.tables import Inspection, Version, new_id
from vtadl.server.versions import active_version, add_version, is_known

if TYPE_CHECKING:
    from vtadl.server.server import Server

MOST_PICTURES = 5000
LONGEST_SECONDS = 3600
Lesson = Literal["teach", "rejects", "good"]
"""What is learnt: rejects that were fine, by the detector or its calibration; or a period's good parts."""
REASONS: dict[Lesson, str] = {
    "teach": "rejects that were fine taught to the detector",
    "rejects": "rejects that were fine added to the calibration",
    "good": "good parts added to the calibration",
}


async def make_version(
    server: "Server",
    name: str,
    source: Path,
    *,
    why: str,
    by: str,
    change: Callable[[Path], None] | None = None,
    metrics: dict[str, float | None] | None = None,
) -> Version | None:
    """Copy a folder, let a function change the copy, and let it judge from now on.

    Args:
        server: where.
        name: of the detector, which need not exist yet.
        source: a run folder or an export.
        why: for people who read the list of versions.
        by: whose wish it is.
        change: changes the copy.
        metrics: of an evaluation, by metric.

    Returns:
        The version; ``None`` where the detector has one of the same content already.

    Raises:
        VtadlError: the folder holds no detector, or a damaged one; or the change failed.
    """
    folder = server.storage.versions / name / new_id()
    try:
        await run_in_threadpool(_copy, source, folder, change)
        description = await server.scorer.describe(str(folder))
        await server.scorer.warm(str(folder))
        about = {**description, "metrics": metrics or {}}
        added = await run_in_threadpool(_add, server, name, folder, about, why, by)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if added is None:
        shutil.rmtree(folder)
    return added


async def set_threshold(server: "Server", name: str, threshold: float, by: str) -> None:
    """Judge by another threshold, set by hand, which promises nothing.

    Raises:
        VtadlError: the detector is an export, or the threshold cannot be.
    """
    active = _changeable(server, name)
    arguments = ["--threshold", repr(threshold)]
    review = (active.description["card"] or {}).get("review_threshold")
    if review is not None and review < threshold:
        arguments += ["--review-threshold", repr(review)]
    await make_version(
        server,
        name,
        server.storage.root / active.folder,
        why=f"threshold {threshold:.6g} by hand",
        by=by,
        change=lambda copy: run_command("calibrate", str(copy), *arguments),
    )


async def learn_from(server: "Server", name: str, what: Lesson, filters: Filters, by: str) -> None:
    """Make a version that has learnt from pictures of the history.

    Raises:
        ConflictError: there are no such pictures, or the detector is an export.
        DataError: the command failed, with its own sentence.
    """
    active = _changeable(server, name)
    conditions = [*filters.conditions(), *_lesson(what), Inspection.detector == name, Inspection.kept.is_(True)]
    with server.database.read() as session:
        newest = select(Inspection).where(*conditions).order_by(Inspection.id.desc()).limit(MOST_PICTURES)
        pictures = [server.storage.picture(row.id, row.kind) for row in session.scalars(newest)]
    if not pictures:
        raise ConflictError("there are no such pictures in the history; nothing was changed")
    asked = ((active.description["card"] or {}).get("false_rejects") or {}).get("asked")
    rate = [] if asked is None else ["--false-reject-rate", repr(asked)]

    def learn(copy: Path) -> None:
        with _linked(pictures, server.storage) as images:
            if what == "teach":
                run_command("teach", str(copy), images)
            else:
                run_command("calibrate", str(copy), f"--add-{what}", images, *rate)

    why = f"{len(pictures)} {REASONS[what]}"
    await make_version(server, name, server.storage.root / active.folder, why=why, by=by, change=learn)


def run_command(*arguments: str) -> None:
    """Run a command of vtadl in a process of its own.

    Raises:
        DataError: it failed, with its own sentence.
    """
    done = subprocess.run(
        [sys.executable, "-m", "vtadl", *arguments],
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DataError((lines[-1] if lines else f"vtadl {arguments[0]} failed").removeprefix("vtadl: "))


def _add(server: "Server", name: str, folder: Path, description: dict[str, Any], why: str, by: str) -> Version | None:
    mark, place = fingerprint(folder), str(folder.relative_to(server.storage.root))
    with server.database.write() as session:
        if is_known(session, name, mark):
            return None
        return add_version(session, name, place, mark, description, why=why, by=by)


def _lesson(what: Lesson) -> list[ColumnElement[bool]]:
    said = Inspection.label == "good"
    if what != "good":
        return [said, Inspection.corrected.is_(True)]
    # Without what people found defective or unsure: whatever passed, and rejects that were fine.
    return [said | ((Inspection.verdict == "good") & Inspection.label.is_(None))]


def _changeable(server: "Server", name: str) -> Version:
    with server.database.read() as session:
        active = active_version(session, name)
    if active.description["kind"] != "run":
        raise ConflictError(f"'{name}' is an export, which keeps its card; serve its run folder to change it")
    return active


def _linked(pictures: Sequence[Path], storage: Storage) -> "tempfile.TemporaryDirectory[str]":
    """A folder of links, which a command reads as a folder of images."""
    folder = tempfile.TemporaryDirectory(prefix="images-", dir=storage.incoming)
    for picture in pictures:
        (Path(folder.name) / picture.name).symlink_to(picture)
    return folder


def _copy(source: Path, target: Path, change: Callable[[Path], None] | None) -> None:
    """Copy a folder, change the copy, and put it in its place, durably."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
        copy = Path(scratch) / target.name
        # The server has versions of its own.
        ignored = shutil.ignore_patterns("versions")
        shutil.copytree(source, copy, copy_function=shutil.copyfile, ignore=ignored)
        if change is not None:
            change(copy)
        for place, _, names in os.walk(copy):
            for name in names:
                sync(Path(place) / name)
            sync(Path(place))
        copy.rename(target)
        sync(target.parent)
