"""The one way in which folders are searched for files: for training, prediction, checks and anomaly maps alike.

Every file of a folder is either found or counted as left out, with the reason.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vtadl.data.formats import IMAGE_SUFFIXES

PASSED_OVER = frozenset(
    (
        *("@eadir", "@recycle", "#recycle", "#snapshot", "@recently-snapshot", "$recycle.bin", "lost+found", "@tmp"),
        *("system volume information", "__macosx", "thumbnails", "thumbs", "__pycache__", "recycler", "@sharebin"),
    )
)
"""Folders, in lower case, of thumbnails and of what was thrown away."""

DRAWINGS = ".json"
"""What labelme leaves beside each image; never an image itself."""
NOT_BY_NAME = "no images by their names"
HIDDEN, ASIDE = "hidden", "of thumbnails or trash"
TWICE, GONE, CLOSED = "there under another name already", "links to nothing", "in folders that cannot be listed"


@dataclass
class LeftOut:
    """What a search did not take, by reason."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    suffixes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, reason: str, path: Path, count: int = 1) -> None:
        """Count files."""
        self.counts[reason] += count
        self.examples.setdefault(reason, str(path))

    def line(self) -> str | None:
        """One line, or ``None`` where nothing was left out that might be an image."""
        parts = [f"{count} {reason} ('{self.examples[reason]}')" for reason, count in self.counts.items()]
        return f"left out {sum(self.counts.values())} files: {'; '.join(parts)}" if parts else None


def walk(
    folder: Path, left_out: LeftOut | None = None, *, suffixes: Sequence[str] = IMAGE_SUFFIXES, deep: bool = True
) -> Iterator[Path]:
    """The files of a folder whose names end in one of the suffixes, in no order.

    Hidden files and folders, and those of `PASSED_OVER`, are passed over. Links are followed, a folder once.

    Args:
        folder: where to look.
        left_out: counts what is not taken.
        suffixes: with their dots, in lower case.
        deep: whether to look in the folders inside.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    left_out = LeftOut() if left_out is None else left_out
    seen = {_place(folder)}
    waiting, links = [folder], list[Path]()  # Links come last: a file is found under its own name.
    while waiting or links:
        here = waiting.pop() if waiting else links.pop(0)
        if here != folder and here.is_symlink() and not _is_new(here, seen):
            left_out.add(TWICE, here, _count(here, suffixes))
            continue
        for path in _entries(here, folder, left_out):
            if not path.is_dir():
                if _is_taken(path, suffixes, left_out):
                    yield path
            elif not deep or _is_passed_over(path, suffixes, left_out):
                continue
            elif path.is_symlink():
                links.append(path)
            elif _is_new(path, seen):
                waiting.append(path)


def _entries(here: Path, top: Path, left_out: LeftOut) -> list[Path]:
    try:
        return sorted(here.iterdir())
    except OSError:
        if here == top:
            raise
        left_out.add(CLOSED, here)
        return []


def _is_taken(path: Path, suffixes: Sequence[str], left_out: LeftOut) -> bool:
    """Whether a file is one of those that are looked for; what might be meant for one is counted."""
    named = path.suffix.lower() in suffixes
    if path.name.startswith("."):
        reason = HIDDEN if named else None
    elif named:
        reason = None if path.is_file() else GONE
    else:
        reason = None if path.suffix.lower() == DRAWINGS else NOT_BY_NAME
    if reason is not None:
        left_out.add(reason, path)
    return named and reason is None


def _is_passed_over(folder: Path, suffixes: Sequence[str], left_out: LeftOut) -> bool:
    """Whether a folder is not looked into, by its name; what is in it is counted."""
    if is_aside(folder.name) and (count := _count(folder, suffixes)):
        left_out.add(HIDDEN if folder.name.startswith(".") else ASIDE, folder, count)
    return is_aside(folder.name)


def _is_new(folder: Path, seen: set[tuple[int, int] | str]) -> bool:
    place, known = _place(folder), len(seen)
    seen.add(place)
    return len(seen) > known


def is_aside(name: str) -> bool:
    """Whether a folder of this name is hidden, or holds thumbnails or what was thrown away."""
    return name.startswith(".") or name.casefold() in PASSED_OVER


def _count(folder: Path, suffixes: Sequence[str]) -> int:
    """Files in a folder that is passed over; links are not followed."""
    return sum(Path(name).suffix.lower() in suffixes for _, _, names in os.walk(folder) for name in names)


def _place(path: Path) -> tuple[int, int] | str:
    try:
        status = path.stat()
    except OSError:
        return str(path)
    # Where the system numbers no files, as on some shares, the real path tells folders apart.
    return (status.st_dev, status.st_ino) if status.st_ino else str(path.resolve())
