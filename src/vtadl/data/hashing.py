"""Choices that depend on the bytes of files alone, so that copying, renaming or another seed cannot change them."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from vtadl.errors import DataError

T = TypeVar("T")


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


def select_by_content(items: Sequence[T], count: int, sha256: Callable[[T], str]) -> frozenset[T]:
    """Choose ``count`` of the items, such as files, by the hash of their content.

    Exact copies are chosen together or not at all; a group of copies that would exceed ``count`` is passed over, so
    fewer may come back. What cannot be read, so that ``sha256`` raises a `DataError`, is never chosen: reading it later
    says why.
    """
    copies: defaultdict[str, list[T]] = defaultdict(list)
    for item in items:
        try:
            copies[sha256(item)].append(item)
        except DataError:
            continue
    chosen: list[T] = []
    for _, group in sorted(copies.items(), key=lambda pair: pair[0]):
        if len(chosen) + len(group) <= count:
            chosen += group
    return frozenset(chosen)
