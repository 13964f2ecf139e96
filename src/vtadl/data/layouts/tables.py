"""Tables of images: CSV, and Parquet where pyarrow is installed."""

import csv
from collections.abc import Sequence
from pathlib import Path

from vtadl.errors import DataError, DependencyError

Row = dict[str, str]
_DELIMITERS = (",", ";", "\t")


def columns_of(table: Path) -> list[str]:
    """The names of a table's columns; none where it cannot be read.

    Raises:
        DependencyError: a Parquet file, and pyarrow is missing.
    """
    try:
        if table.suffix.lower() == ".parquet":
            return [str(name) for name in _parquet(table).schema_arrow.names]
        with table.open(newline="", encoding="utf-8-sig") as file:
            line = file.readline(100_000)
        return next(csv.reader([line], delimiter=delimiter_of(line)), [])
    except (OSError, UnicodeDecodeError, csv.Error, DataError):
        return []


def read_csv(table: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV table in UTF-8, separated by commas, semicolons or tabs, each value without blanks around it.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            delimiter = delimiter_of(file.readline(100_000))
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            _check_columns(table, list(reader.fieldnames or ()), columns)
            return [{name: (row.get(name) or "").strip() for name in (*columns, *optional)} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{table}' is not a CSV table in UTF-8: {error}") from error


def read_parquet(table: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """As `read_csv`, of a Parquet file; what is missing is empty.

    Raises:
        DataError: it cannot be read, or lacks a column.
        DependencyError: pyarrow is missing.
    """
    file = _parquet(table)
    names = [str(name) for name in file.schema_arrow.names]
    _check_columns(table, names, columns)
    wanted = [name for name in (*columns, *optional) if name in names]
    try:
        rows = file.read(columns=wanted).to_pylist()
    except Exception as error:  # pyarrow raises errors of its own, of several kinds.
        raise DataError(f"'{table}' is a damaged Parquet file: {error}; write it again") from error
    return [{name: _text(row.get(name)) for name in (*columns, *optional)} for row in rows]


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


def _check_columns(table: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    if not set(columns) <= set(found):
        raise DataError(f"'{table}' has columns {','.join(found)}; expected {','.join(columns)}")
