"""Image scores of one's own, from a file, where an image's score is not the highest value of its map."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vtadl.data.layouts.tables import delimiter_of
from vtadl.errors import DataError

NAMES = ("file", "image", "path", "name", "filename")
"""Columns, or keys, that name an image; the first that is there."""
SCORE = "score"
EXAMPLE = '{"file": "a.png", "score": 1.5}'


def read_scores(path: Path, images: Mapping[str, Path]) -> dict[str, float]:
    """The scores that a file gives to test images.

    Args:
        path: CSV, with the columns ``file`` and ``score`` or of these two without a head; or JSON lines, with such keys
            or ``{"NAME": SCORE}``. What else it holds is passed over.
        images: the test images' files, by their path relative to the category. The file names them by that path, by
            its end where no other image has it, or by where they are.

    Returns:
        Numbers or infinities by path relative to the category, in the order of the file.

    Raises:
        DataError: the file cannot be read, names no test image or several, names one twice, or gives no number.
    """
    known: dict[str, set[str]] = {}
    for image, file in images.items():
        parts = PurePosixPath(image).parts
        ends = {"/".join(parts[first:]) for first in range(len(parts))}
        for name in {*ends, file.as_posix(), file.resolve().as_posix()}:
            known.setdefault(name, set()).add(image)
    scores: dict[str, float] = {}
    for line, name, value in _entries(path):
        name = PurePosixPath(name).as_posix()
        found = {name} if name in images else known.get(name, set())
        if len(found) != 1:
            raise DataError(f"'{path}', line {line}: {_unclear(name, found, images)}")
        (image,) = found
        if image in scores:
            raise DataError(f"'{path}', line {line}: '{image}' has a score already; keep one")
        scores[image] = _number(value, f"'{path}', line {line}: the score of '{name}'")
    return scores


def check_complete(path: Path, scores: Mapping[str, float], images: list[str]) -> None:
    """Refuse scores that leave out an image.

    Raises:
        DataError: they do.
    """
    missing = [image for image in images if image not in scores]
    if missing:
        more = f" and {len(missing) - 1} more test images" if len(missing) > 1 else ""
        raise DataError(f"'{path}' has no score of '{missing[0]}'{more}; give one for each image that has a map")


def _unclear(name: str, found: set[str], images: Mapping[str, Path]) -> str:
    if found:
        some = " and ".join(f"'{image}'" for image in sorted(found)[:2])
        return f"'{name}' may be {some}; name images by their path relative to the category"
    return f"'{name}' is no test image of the category; expected such as '{next(iter(images))}'"


def _number(value: Any, what: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise DataError(f"{what} is {str(value)[:40] or 'empty'}; expected a number, larger for more abnormal")
    return number


def _entries(path: Path) -> Iterator[tuple[int, str, Any]]:
    """Number of the line, name and score of each entry."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read '{path}': {getattr(error, 'strerror', None) or 'it is not text'}") from error
    return _json_lines(path, text) if text.lstrip().startswith("{") else _csv_rows(path, text)


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, str, Any]]:
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{path}', line {line} is no JSON, such as {EXAMPLE}") from error
        if not isinstance(row, dict):
            raise DataError(f"'{path}', line {line} is no object, such as {EXAMPLE}")
        name = next((row[key] for key in NAMES if isinstance(row.get(key), str)), None)
        if name is None:
            yield from ((line, key, value) for key, value in row.items())
        else:
            yield line, name, row.get(SCORE, "")


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, str, Any]]:
    lines = text.splitlines(keepends=True)
    reader = csv.reader(lines, delimiter=delimiter_of(lines[0] if lines else ""))
    columns: tuple[int, int] | None = None
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if columns is None:
                columns, is_head = _columns(path, fields)
                if is_head:
                    continue
            if fields:
                name, score = (fields[column] if column < len(fields) else "" for column in columns)
                yield reader.line_num, name, score
    except csv.Error as error:
        raise DataError(f"'{path}', line {reader.line_num} is no CSV: {error}") from error


def _columns(path: Path, first: list[str]) -> tuple[tuple[int, int], bool]:
    """Where name and score stand, by the first row; and whether that is a head."""
    named = [name for name in NAMES if name in first]
    if SCORE in first and named:
        return (first.index(named[0]), first.index(SCORE)), True
    if len(first) == 2:
        return (0, 1), False
    raise DataError(f"'{path}' has columns {','.join(first)[:80]}; expected file,score")
