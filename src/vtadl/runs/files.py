"""Files that appear whole or not at all: written beside their place, then renamed. And files of one writer."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import IO

from vtadl.errors import BundleError

MAX_TEXT_BYTES = 100_000_000
"""A run's TOML and JSON files have some kilobytes, and 70 bytes for each of its images."""

MAX_NAME_BYTES = 240
"""Of a file's name: file systems take 255, and a few less."""


def shortened(name: str, room: int = 0) -> str:
    """A file's name that a file system takes, with room for an ending of so many bytes; of one that is too long, the
    beginning and a hash of all of it.
    """
    content = os.fsencode(name)
    if len(content) <= MAX_NAME_BYTES - room:
        return name
    digest = hashlib.sha256(content).hexdigest()[:12]
    beginning = content[: MAX_NAME_BYTES - room - len(digest) - 1].decode("utf-8", "ignore")
    return f"{beginning}-{digest}"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file at once; a reader, a kill or a full disk never meets half of it.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:20]}.", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text; a name in it that is of other bytes keeps them."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def lock(file: IO[bytes] | IO[str], taken: str) -> None:
    """Keep other processes from writing to an open file, closed where another one holds it; where the system has no
    locks, nothing is kept away.

    The lock ends with the process, however it ends.

    Raises:
        BundleError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BundleError(taken) from error
