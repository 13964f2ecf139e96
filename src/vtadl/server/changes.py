"""New versions of a detector, made by vtadl's own commands on a copy: what judges is never changed in place.

A version is added when its folder is complete, so that a kill in between leaves nothing but a folder to remove.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from vtadl.errors import ConfigError, DataError
from vtadl.server.detectors import fingerprint
from vtadl.server.filters import Filters
from vtadl.server.problems import ConflictError
from vtadl.server.server import Server
from vtadl.server.storage import sync
from vtadl.server.tables import Inspection, Version
from vtadl.server.versions import active_version, add_version, versions_of

MOST_PICTURES = 5000
LONGEST_SECONDS = 3600


def run_command(arguments: Sequence[str]) -> str:
    """Run a command of vtadl in a process of its own; what it prints.

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
    return done.stdout


async def set_threshold(server: Server, name: str, threshold: float, by: str) -> Version:
    """Judge by another threshold, set by hand, which promises nothing.

    Raises:
        VtadlError: the detector is an export, or the threshold cannot be.
    """
    arguments = ["--threshold", repr(threshold)]
    with server.database.read() as session:
        review = (active_version(session, name).description["card"] or {}).get("review_threshold")
    if review is not None and review < threshold:
        arguments += ["--review-threshold", repr(review)]
    return await _calibrated(server, name, arguments, (), f"threshold {threshold:.6g} by hand", by)


async def learn_from(server: Server, name: str, what: str, filters: Filters, by: str) -> Version:
    """Calibrate again with pictures of the history: ``rejects`` that were fine, or all ``good`` parts of a period.

    Raises:
        ConflictError: there are no such pictures.
    """
    if what not in ("rejects", "good"):
        raise ConfigError(f"expected rejects or good; got '{what}'")
    with server.database.read() as session:
        conditions = [*filters.conditions(), Inspection.detector == name, Inspection.kept.is_(True)]
        if what == "rejects":
            conditions += [Inspection.label == "good", Inspection.corrected.is_(True)]
        else:
            # Without what people found defective or unsure: whatever passed, and rejects that were fine.
            said = Inspection.label == "good"
            conditions.append(said | ((Inspection.verdict == "good") & Inspection.label.is_(None)))
        newest = select(Inspection).where(*conditions).order_by(Inspection.id.desc()).limit(MOST_PICTURES)
        rows = session.scalars(newest).all()
        card = active_version(session, name).description["card"]
    if not rows:
        raise ConflictError("there are no such pictures in the history; nothing was changed")
    asked = ((card or {}).get("false_rejects") or {}).get("asked")
    arguments = [f"--add-{what}"]
    rate = ["--false-reject-rate", repr(asked)] if asked is not None else []
    why = f"{len(rows)} {'rejects that were fine' if what == 'rejects' else 'good parts'} added to the calibration"
    return await _calibrated(
        server, name, arguments, [(server.storage.picture(r.id, r.kind)) for r in rows], why, by, rate
    )


async def _calibrated(
    server: Server,
    name: str,
    arguments: Sequence[str],
    pictures: Iterable[Path],
    why: str,
    by: str,
    further: Sequence[str] = (),
) -> Version:
    with server.database.read() as session:
        active = active_version(session, name)
        number = versions_of(session, name)[0].number + 1
    if active.description["kind"] != "run":
        raise ConflictError(f"'{name}' is an export, which keeps its card; serve its run folder to change it")
    target = server.storage.versions / name / str(number)
    await run_in_threadpool(_make, Path(active.folder), target, list(arguments), list(pictures), list(further))
    description = await server.scorer.describe(str(target))
    await server.scorer.warm(str(target))
    with server.database.write() as session:
        return add_version(session, name, target, fingerprint(target), description, why=why, by=by)


def _make(source: Path, target: Path, arguments: list[str], pictures: list[Path], further: list[str]) -> None:
    """Copy a run folder, calibrate the copy, and put it in its place, durably."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
        copy, images = Path(scratch) / "run", Path(scratch) / "images"
        shutil.copytree(source, copy)
        if pictures:
            images.mkdir()
            for picture in pictures:
                (images / picture.name).symlink_to(picture)
            arguments = [*arguments, str(images)]
        run_command(["calibrate", str(copy), *arguments, *further])
        for file in copy.iterdir():
            sync(file)
        shutil.rmtree(target, ignore_errors=True)  # What a kill left: no version points to it.
        copy.rename(target)
        sync(target.parent)
