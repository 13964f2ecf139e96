"""Whose files are in a folder, and which process writes to it: nothing of others is replaced or written over."""

import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vtadl.errors import BundleError
from vtadl.runs.files import shortened

_RUN = (
    r"(versions/\d+/)?(config\.toml|(weights|learned|checkpoint)\.safetensors|run\.json|times\.json|log\.jsonl|"
    r"region_of_interest\.png|card\.json|card\.html|drift\.(json|html))"
)
_OWN = re.compile(
    rf"{_RUN}|samples\.json|manifest\.json|model\.(onnx|xml|bin)|report\.html|inspection\.json|predictions\.(jsonl|csv)|"
    rf"overlays/.+\.png|maps/.+\.tiff|runs/[^/]+/{_RUN}|"
    # What a kill left half-written.
    r"(.+/)?\.[^/]+\.partial|(.+/)?\.[^/]{1,30}\.[a-z0-9_]{8}"
)
_GENERATED, _DEMO = re.compile(r"\d+\.png"), re.compile(r"images/.+\.(png|json|csv|txt)")


def foreign_file(folder: Path) -> Path | None:
    """A file below a folder that vtadl did not write, by its name; ``None`` where there is none."""
    generated, demo = (folder / "samples.json").exists(), (folder / "report.html").exists()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        own = _OWN.fullmatch(name) or (generated and _GENERATED.fullmatch(name)) or (demo and _DEMO.fullmatch(name))
        if not own and (path.is_symlink() or not path.is_dir()):
            return path
    return None


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Be the only training into a folder, from beginning to end; a lock beside it names the process and its host.

    A lock whose process is gone is taken over.

    Raises:
        BundleError: another process trains into the folder, or its place cannot be written.
    """
    place = _lock_of(folder)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not _created(place):
            check_unlocked(folder, mine=False)
            place.unlink(missing_ok=True)
            if not _created(place):
                check_unlocked(folder, mine=False)
                raise BundleError(f"another process has just begun to train into '{folder}'; choose another --out")
    except OSError as error:
        raise BundleError(f"cannot write to '{place.parent}': {error.strerror}") from error
    try:
        yield
    finally:
        place.unlink(missing_ok=True)


def check_unlocked(folder: Path, *, mine: bool = True) -> None:
    """Refuse a folder that another process trains into.

    Args:
        folder: of the run.
        mine: whether a lock of this process itself is no hindrance.

    Raises:
        BundleError: a process that may be alive holds the lock.
    """
    try:
        holder = json.loads(_lock_of(folder).read_bytes())
        pid, host, started = int(holder["pid"]), str(holder["host"]), holder["started"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if host == socket.gethostname():
        own = pid == os.getpid() and started == _started(pid)
        if (own and mine) or not _alive(pid) or started != _started(pid):
            return
        raise BundleError(f"process {pid} is training into '{folder}'; wait for it, or choose another --out")
    raise BundleError(
        f"process {pid} of '{host}' is training into '{folder}'; wait for it, choose another --out, or, if "
        f"that process is gone, remove '{_lock_of(folder)}'"
    )


def owner_mark() -> str:
    """What names this process in a file's name: host, number and beginning."""
    return f"{_host()}-{os.getpid()}-{_started(os.getpid())}-"


def is_abandoned(mark: str) -> bool:
    """Whether what begins with an `owner_mark` is that of a process of this host that is gone."""
    found = re.match(r"([0-9a-f]{8})-(\d+)-(\d+|None)-", mark)
    if found is None or found[1] != _host():
        return False
    pid = int(found[2])
    return not _alive(pid) or found[3] != str(_started(pid))


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _lock_of(folder: Path) -> Path:
    folder = folder.absolute()
    return folder.with_name(f".{shortened(folder.name, 8)}.lock")


def _created(place: Path) -> bool:
    """Make the lock with its content at once; whether there was none."""
    holder: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
    handle, name = tempfile.mkstemp(prefix=".vtadl-", dir=place.parent)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(holder, file)
        try:
            os.link(name, place)
        except FileExistsError:
            return False
        except OSError:  # A file system without links.
            try:
                with place.open("x") as file:
                    json.dump(holder, file)
            except FileExistsError:
                return False
        return True
    finally:
        Path(name).unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # Another user's.
        return True
    return True


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; tells it from a later one of its number. ``None`` of one that has
    ended and that nobody waited for.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None
