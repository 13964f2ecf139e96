"""Tables of images: CSV, and Parquet where pyarrow is installed."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from vtadl.errors import DataError, DependencyError

Row = dict[str, str]
_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=(.)\r?\n")
"""What spreadsheets may write before the header."""
_HEAD = 100_000
"""Bytes within which the first rows are looked for."""


def head_of(table: Path) -> list[list[str]]:
    """The names of a table's columns, in lower case, and of a CSV the first row too; nothing where it cannot be read.

    Raises:
        DependencyError: a Parquet file, and pyarrow is missing.
    """
    try:
        if table.suffix.lower() == ".parquet":
            return [_names(map(str, _parquet(table).schema_arrow.names))]
        # A letter that is no UTF-8 is said when the table is read: it is a table all the same.
        names, *others = [*islice(_rows(table, most=_HEAD, errors="replace"), 2)] or [[]]
        return [_names(names), *others]
    except (OSError, UnicodeDecodeError, csv.Error, DataError):
        return []


def read_csv(table: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV table in UTF-8 (or UTF-16, as it says itself), separated by commas, semicolons, tabs or bars.

    Names of columns may have capitals, and values blanks around them.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    try:
        names, *rows = [*_rows(table)] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{table}' is not a CSV table in UTF-8: {error}; save it as 'CSV UTF-8'") from error
    names = _names(names)
    _check_columns(table, names, columns, optional)
    found = [dict(zip(names, row, strict=False)) for row in rows]
    return [{name: row.get(name, "") for name in (*columns, *optional)} for row in found]


def _rows(table: Path, *, most: int = -1, errors: str = "strict") -> Iterator[list[str]]:
    """The rows that are not empty, each value without blanks around it."""
    with table.open("rb") as file:
        content = file.read(most)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig", errors)
    said = _SAID.match(text)
    text = text[said.end() :] if said else text
    delimiter = said[1] if said else delimiter_of(text.partition("\n")[0].partition("\r")[0])
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
        if row:
            yield [value.strip() for value in row]


def _names(names: Iterator[str] | Sequence[str]) -> list[str]:
    return [name.strip().casefold() for name in names]


def read_parquet(table: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """As `read_csv`, of a Parquet file; what is missing is empty.

    Raises:
        DataError: it cannot be read, or lacks a column.
        DependencyError: pyarrow is missing.
    """
    file = _parquet(table)
    stored = [str(name) for name in file.schema_arrow.names]
    own = dict(zip(_names(stored), stored, strict=True))
    _check_columns(table, _names(stored), columns, optional)
    wanted = [own[name] for name in (*columns, *optional) if name in own]
    try:
        rows = file.read(columns=wanted).to_pylist()
    except Exception as error:  # pyarrow raises errors of its own, of several kinds.
        raise DataError(f"'{table}' is a damaged Parquet file: {error}; write it again") from error
    return [{name: _text(row.get(own.get(name))) for name in (*columns, *optional)} for row in rows]


def _parquet(table: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 - pyarrow has no types
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError(
            f"reading '{table}' needs pyarrow; install it: pip install 'vtadl[parquet]', or save the list as CSV"
        ) from error
    try:
        return parquet.ParquetFile(table)
    except Exception as error:  # as above
        raise DataError(f"'{table}' is not a Parquet file: {error}; write it again") from error


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def delimiter_of(line: str) -> str:
    """What separates the values of a table, by its first line."""
    return max(_DELIMITERS, key=line.count)


def _check_columns(table: Path, found: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> None:
    if not set(columns) <= set(found):
        raise DataError(f"'{table}' has columns {','.join(found)}; expected {','.join(columns)}")
    twice = next((name for name in (*columns, *optional) if found.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"'{table}' has the column '{twice}' twice; keep one")
