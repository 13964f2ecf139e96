"""Versions of a run: every change keeps the earlier state, whole, as a run folder of its own.

    RUN/versions/1/   the state that the first change left behind, and so on; files that did not change are links

The current state says its number and what made it in ``times.json``; a run that never changed is version 1.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtadl.data.roi import REGION_FILE
from vtadl.decision.card import CARD_FILE
from vtadl.errors import BundleError, ConfigError
from vtadl.runs.origin import TIMES_FILE
from vtadl.runs.ownership import sole_writer
from vtadl.runs.record import (
    CONFIG_FILE,
    LEARNED_FILE,
    LOG_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    describe_run,
    read_record,
    read_times,
)

VERSIONS = "versions"
KEY = "version"
CARD_PAGE = "card.html"
STATE = (WEIGHTS_FILE, LEARNED_FILE, CONFIG_FILE, LOG_FILE, REGION_FILE, CARD_PAGE, CARD_FILE, TIMES_FILE, RECORD_FILE)
"""The files of a state, in the order in which they are replaced: until the last, readers refuse what does not fit."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A state of a run."""

    number: int
    """Counted from 1, never used twice."""
    made: str
    """Date and time, ISO 8601."""
    change: str
    """What made it, such as ``taught 12 images``."""
    folder: Path
    """A run folder that holds it."""


def versions_of(folder: Path) -> list[Version]:
    """All states of a run, the current one last.

    Raises:
        BundleError: no run, or a damaged one.
    """
    read_record(folder)
    kept = [path for path in (folder / VERSIONS).glob("*") if path.name.isdecimal() and (path / RECORD_FILE).exists()]
    return [*sorted(map(_version, kept), key=lambda version: version.number), _version(folder)]


Files = Mapping[str, bytes | Path | None]
"""New files of a run by name: their content, a file to take over, or ``None`` for one that is to go."""


def change_run(folder: Path, files: Files, change: str) -> Version:
    """Replace files of a run, and keep its earlier state; ``change`` says what is done, such as ``calibrated``.

    Raises:
        BundleError: no run, another process writes to it, or it cannot be written.
    """
    with sole_writer(folder):
        return _change(folder, files, change)


def roll_back(folder: Path, number: int | None = None) -> Version:
    """Make an earlier state, by default the last one, the current one; the present one is kept too.

    Raises:
        BundleError: no run, or a damaged one.
        ConfigError: there is no such version.
    """
    with sole_writer(folder):
        earlier = versions_of(folder)[:-1]
        if not earlier:
            raise ConfigError(f"'{folder}' never changed: there is no earlier version to go back to")
        asked = earlier[-1].number if number is None else number
        found = next((version for version in earlier if version.number == asked), None)
        if found is None:
            numbers = ", ".join(str(version.number) for version in earlier)
            raise ConfigError(f"'{folder}' has no earlier version {asked}; there are: {numbers}")
        describe_run(found.folder)  # nothing damaged becomes current
        files = {name: found.folder / name if (found.folder / name).exists() else None for name in STATE}
        times = json.dumps(read_times(found.folder)).encode()
        return _change(folder, {**files, TIMES_FILE: times}, f"rolled back to version {found.number}")


def _change(folder: Path, files: Files, change: str) -> Version:
    """Keep the current state, then replace files."""
    from vtadl.runs.run import now  # loads torch, which listing versions does not need

    versions = versions_of(folder)
    made = {"number": max(version.number for version in versions) + 1, "date": now(), "change": change}
    given = files.get(TIMES_FILE)
    times = json.loads(given) if isinstance(given, bytes) else read_times(folder)
    files = {**files, TIMES_FILE: (json.dumps({**times, KEY: made}, indent=2) + "\n").encode()}
    try:
        _keep(folder, versions[-1])
        with tempfile.TemporaryDirectory(prefix=".next.", dir=folder) as place:
            _prepare(Path(place), files)
            for name in STATE:
                if (Path(place) / name).exists():
                    (Path(place) / name).replace(folder / name)
                elif name in files:
                    (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(f"cannot write '{folder}': {error.strerror}; its earlier state is in '{VERSIONS}'") from error
    return _version(folder)


def _prepare(place: Path, files: Files) -> None:
    """Have everything on the disk before anything is replaced."""
    from vtadl.runs.checkpoint import sync

    for name, new in files.items():
        if isinstance(new, Path):
            _link(new, place / name)
        elif new is not None:
            (place / name).write_bytes(new)
            sync(place / name)


def _keep(folder: Path, version: Version) -> None:
    kept = folder / VERSIONS / str(version.number)
    if kept.exists():  # a change that was cut off had kept it
        return
    kept.parent.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial.", dir=kept.parent))
    try:
        for name in STATE:
            if (folder / name).exists():
                _link(folder / name, partial / name)
        partial.chmod(0o755)
        partial.rename(kept)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """A second name of a file, which is replaced and never written to; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _version(folder: Path) -> Version:
    times = read_times(folder)
    said: Any = times.get(KEY)
    if not isinstance(said, dict) or not isinstance(said.get("number"), int):
        said = {"number": 1, "date": times.get("date", "-"), "change": "trained"}
    made, change = (str(said.get(name, "-")) for name in ("date", "change"))
    return Version(number=said["number"], made=made, change=change, folder=folder)
