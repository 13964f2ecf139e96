"""Choices that depend on the bytes of files alone, so that copying, renaming or another seed cannot change them."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vtadl.errors import DataError


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}; check the path and its permissions") from error


def in_order_of_content(paths: Sequence[Path]) -> list[Path]:
    """The files in the order of their content's hash, which renaming does not change."""
    return [path for _, path in sorted((content_hash(path), path) for path in paths)]


def select_by_content(paths: Sequence[Path], count: int) -> frozenset[Path]:
    """Choose ``count`` of the files by the hash of their content.

    Exact copies are chosen together or not at all; a group of copies that would exceed ``count`` is passed over, so
    fewer may come back. Files that cannot be read are never chosen: reading them later says why.
    """
    copies: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            copies[content_hash(path)].append(path)
        except DataError:
            continue
    chosen: list[Path] = []
    for _, group in sorted(copies.items()):
        if len(chosen) + len(group) <= count:
            chosen += group
    return frozenset(chosen)
