"""The history as files, in constant memory."""

import csv
import io
from collections.abc import Iterator

from vtadl.server.database import Database
from vtadl.server.filters import Filters, everything
from vtadl.server.schemas import answer_of, moment

COLUMNS = (
    *("id", "created", "detector", "version", "name", "part", "batch", "tags", "score", "p_value", "verdict", "label"),
    *("corrected", "regions", "height", "width", "brightness", "contrast", "sharpness", "milliseconds", "source", "by"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes text that begins so for a formula."""


def csv_lines(database: Database, filters: Filters) -> Iterator[str]:
    """CSV with a header; ``regions`` is their number."""
    yield _line(COLUMNS)
    for row, tags in everything(database, filters):
        values = {name: getattr(row, name, None) for name in COLUMNS}
        values |= {"created": moment(row.created_ms).isoformat(), "tags": " ".join(tags), "regions": len(row.regions)}
        yield _line(_harmless(value) for value in values.values())


def json_lines(database: Database, filters: Filters) -> Iterator[str]:
    """One JSON object a line, as the API gives it."""
    for row, tags in everything(database, filters):
        yield answer_of(row, tags).model_dump_json() + "\n"


def _line(values: object) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)  # type: ignore[arg-type]
    return text.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
