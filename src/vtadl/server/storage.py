"""Pictures and maps on disk. What `publish` returned from survives a power cut.

DATA/incoming/       files that are not acknowledged yet
DATA/pictures/2026-11-28/14/ID.jpg    as they were sent
DATA/maps/2026-11-28/14/ID.tiff       raw scores, 32-bit float
DATA/cache/          made from the others whenever it is missing
DATA/versions/NAME/2/   run folders that the server made
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from vtadl.errors import DataError
from vtadl.runs.files import write_bytes

CHUNK = 1 << 20
ORPHAN_SECONDS = 3600
"""A file without a row that is older was left by a kill: nobody was told of it."""
WORK_SECONDS = 7200
"""That a command may work in a folder."""
KINDS = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpg",
    b"BM": "bmp",
    b"II": "tiff",
    b"MM": "tiff",
    b"RIFF": "webp",
}
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "bmp": "image/bmp", "tiff": "image/tiff", "webp": "image/webp"}


class Storage:
    """The folder of a server, which several servers may share."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.incoming, self.cache, self.versions = (self.root / name for name in ("incoming", "cache", "versions"))
        try:
            for folder in (self.incoming, self.cache, self.versions):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write to '{root}': {error.strerror}; name another folder by --data") from error

    def picture(self, identifier: str, kind: str) -> Path:
        """Where an inspection's picture is."""
        return self._place("pictures", identifier, kind)

    def map(self, identifier: str) -> Path:
        """Where an inspection's anomaly map is."""
        return self._place("maps", identifier, "tiff")

    def thumbnail(self, identifier: str) -> Path:
        """Where an inspection's small picture may be."""
        return self.cache / identifier[:8] / f"{identifier}.jpg"

    def arriving(self, identifier: str) -> tuple[Path, Path]:
        """Where picture and map are until they are published."""
        return self.incoming / f"{identifier}.picture", self.incoming / f"{identifier}.map"

    def publish(self, identifier: str, kind: str) -> None:
        """Put an arrived picture and its map in their places, durably.

        Raises:
            OSError: they cannot be written.
        """
        targets = (self.picture(identifier, kind), self.map(identifier))
        for source, target in zip(self.arriving(identifier), targets, strict=True):
            sync(source)
            self._durable_folder(target.parent)
            source.replace(target)
            sync(target.parent)

    def discard(self, identifier: str, kind: str | None = None) -> None:
        """Remove what belongs to an inspection that was not, or is no longer, to be kept."""
        published = () if kind is None else (self.picture(identifier, kind), self.map(identifier))
        for path in (*self.arriving(identifier), *published, self.thumbnail(identifier)):
            path.unlink(missing_ok=True)

    def keep_thumbnail(self, identifier: str, content: bytes) -> None:
        """Keep a small picture, if there is room: it can be made again."""
        with contextlib.suppress(OSError):
            write_bytes(self.thumbnail(identifier), content)

    def sweep(self) -> None:
        """Remove arrivals, and folders of work on a version, that nobody will finish."""
        oldest = time.time() - ORPHAN_SECONDS
        for path in (*self.incoming.iterdir(), *self.versions.glob("*/.new-*")):
            if path.is_dir() and _changed(path) < oldest - WORK_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
            elif not path.is_dir() and _changed(path) < oldest:
                path.unlink(missing_ok=True)

    def recent(self, hours: int) -> Iterator[tuple[str, Path]]:
        """Published files of the last hours with the ids in their names, but for the newest, which may lack a row."""
        now = time.time()
        for kind in ("pictures", "maps"):
            for back in range(1, hours + 1):
                hour = datetime.fromtimestamp(now - 3600 * back, UTC)
                for path in (self.root / kind / f"{hour:%Y-%m-%d}" / f"{hour:%H}").glob("*"):
                    if _changed(path) < now - ORPHAN_SECONDS:
                        yield path.stem, path

    def _place(self, folder: str, identifier: str, suffix: str) -> Path:
        at = datetime.fromtimestamp(int(identifier[:12], 16) / 1000, UTC)
        return self.root / folder / f"{at:%Y-%m-%d}" / f"{at:%H}" / f"{identifier}.{suffix}"

    def _durable_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self.root:
            self._durable_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def save_upload(source: BinaryIO, target: Path, most: int, name: str) -> tuple[str, int, str]:
    """Copy an upload to disk.

    Returns:
        Its SHA-256, its length in bytes, and the suffix of its format.

    Raises:
        DataError: it has more than ``most`` bytes, or is no picture by its first bytes.
        OSError: it cannot be written.
    """
    digest, length, kind = hashlib.sha256(), 0, ""
    with target.open("wb") as file:
        while chunk := source.read(CHUNK):
            kind = kind or _kind(chunk, name)
            length += len(chunk)
            if length > most:
                raise TooLargeError(f"'{name}' has more than {most / 1e6:g} MB; send a smaller picture")
            digest.update(chunk)
            file.write(chunk)
    if not length:
        raise DataError(f"'{name}' is empty (zero bytes); send a picture")
    return digest.hexdigest(), length, kind


class TooLargeError(DataError):
    """A picture or a request that has more bytes than are taken."""


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _kind(start: bytes, name: str) -> str:
    for magic, kind in KINDS.items():
        if start.startswith(magic):
            return kind
    raise DataError(f"'{name}' is not an image; expected PNG, JPEG, BMP, TIFF or WebP, whatever its name")


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
