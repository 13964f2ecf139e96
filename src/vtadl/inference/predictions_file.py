"""What is done of a long list of images, on disk: a line each, so that a killed process can be resumed.

OUT/inspection.json     what is being done, by which detector, and whether it is finished
OUT/predictions.jsonl   a line an image
OUT/predictions.csv     the same rows as a table, made again from predictions.jsonl when work resumes
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from vtadl.errors import BundleError
from vtadl.runs.files import lock, write_bytes, write_text
from vtadl.runs.folders import new_folder

STATE_FILE, LINES_FILE, TABLE_FILE = "inspection.json", "predictions.jsonl", "predictions.csv"
COLUMNS = (
    *("file", "score", "p_value", "verdict", "regions", "area", "box", "milliseconds", "height", "width"),
    *("brightness", "contrast", "sharpness", "scored_at", "overlay", "map", "error"),
)
"""Of the table: ``regions`` counts them, ``area`` sums their pixels, ``box`` is that of the worst one."""

Identity = tuple[str, int, int]
"""Which file a row is of: absolute path, size in bytes, time of change in nanoseconds. A name that is used again is
another file."""
_NO_FILE = -1
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def identity_of(path: Path) -> Identity:
    """What tells a file from others, those that had its name before among them; one that is away has no size."""
    place = str(path.absolute())
    try:
        status = path.stat()
    except OSError:
        return place, _NO_FILE, _NO_FILE
    return place, status.st_size, status.st_mtime_ns


Observe = Callable[[Mapping[str, Any]], object]
"""Called with each row that is added."""


def unobserved(row: Mapping[str, Any]) -> None:
    """Nobody looks."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is in the folder, and what a call added."""

    rows: int
    """Images with a row, also of earlier calls."""
    added: int
    """Rows of this call."""
    failed: int
    """Rows of files that could not be read, also of earlier calls."""


class PredictionsFile:
    """The rows of one inspection, each file once; `open_predictions_file` makes it."""

    def __init__(self, folder: Path, task: Mapping[str, Any], observe: Observe) -> None:
        self.folder = folder
        self._observe = observe
        self.done: set[Identity] = set()
        """Files that have a row."""
        self.rows = self.added = 0
        self.names: set[str] = set()
        """Pictures that rows refer to."""
        self.failed = 0
        """Rows of files that could not be read."""
        self._task = task
        self._lines = self._locked_lines()
        self._lines.truncate(self._replay())
        self._lines.seek(0, 2)
        self._open_table()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._lines.close()
        self._table_file.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Write the row of an image; what it refers to is on disk already."""
        self._lines.write(_line(row))
        self._lines.flush()
        self._table.writerow(_cells(row))
        self._table_file.flush()
        self._count(row)
        self.added += 1
        self._observe(row)

    def summary(self) -> Summary:
        """How many rows there are."""
        return Summary(rows=self.rows, added=self.added, failed=self.failed)

    def forget_changed(self, present: Iterable[Identity]) -> None:
        """Take out the rows of files that are present with other content now: they are scored again."""
        now = {place: (place, size, time) for place, size, time in present}
        self._lines.seek(0)
        rows = [row for row, _ in _whole_rows(self._lines)]
        kept = [row for row in rows if now.get(_identity(row)[0], _identity(row)) == _identity(row)]
        if len(kept) < len(rows):
            write_bytes(self.folder / LINES_FILE, b"".join(map(_line, kept)))
            self._lines.close()
            self._lines = self._locked_lines()
            self.done, self.names, self.failed, self.rows = set(), set(), 0, 0
            self._table_file.close()
            self._lines.truncate(self._replay())
            self._open_table()
        self._lines.seek(0, 2)

    def finish(self) -> None:
        """Say that nothing is left to do."""
        write_text(self.folder / STATE_FILE, json.dumps({**self._task, "finished": True}, indent=2) + "\n")

    def _locked_lines(self) -> BinaryIO:
        lines = (self.folder / LINES_FILE).open("r+b")
        lock(lines, f"another process is writing to '{self.folder}'; wait for it, or choose another --out")
        return lines

    def _open_table(self) -> None:
        # A name that is not UTF-8 is written with the bytes that it has.
        path = self.folder / TABLE_FILE
        self._table_file = path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        self._table = csv.writer(self._table_file)

    def _replay(self) -> int:
        """Count the rows that are there and write the table again; where the last whole line ends."""
        partial = self.folder / f".{TABLE_FILE}.partial"
        end = 0
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for row, length in _whole_rows(self._lines):
                table.writerow(_cells(row))
                self._count(row)
                end += length
        partial.replace(self.folder / TABLE_FILE)
        return end

    def _count(self, row: Mapping[str, Any]) -> None:
        self.done.add(_identity(row))
        self.rows += 1
        self.failed += "error" in row
        self.names.update(str(row[key]) for key in ("overlay", "map") if key in row)


def open_predictions_file(
    folder: Path, task: Mapping[str, Any], *, force: bool = False, observe: Observe = unobserved
) -> PredictionsFile:
    """Begin an inspection, or resume an unfinished one of the same task, which is given in JSON values.

    Raises:
        BundleError: the folder holds something else, something finished, or cannot be written; or another process
            writes to it.
    """
    state = None if force else _state(folder)
    if state is not None and not state.get("finished"):
        changed = [name for name in task if state.get(name) != task[name]]
        if changed:
            raise BundleError(
                f"'{folder}' is an unfinished inspection with another {' and '.join(changed)}; resume with what it "
                "has, choose another --out, or replace it with --force"
            )
    else:
        with new_folder(folder, force=force) as partial:
            (partial / LINES_FILE).touch()
            (partial / STATE_FILE).write_text(json.dumps({**task, "finished": False}, indent=2) + "\n", "utf-8")
    try:
        return PredictionsFile(folder, task, observe)
    except OSError as error:
        raise BundleError(f"cannot write to '{folder}': {error.strerror}") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of such a file, or of the folder that holds it; a half-written last line is left out.

    Raises:
        BundleError: it cannot be read.
    """
    path = path / LINES_FILE if path.is_dir() else path
    try:
        with path.open("rb") as file:
            for row, _ in _whole_rows(file):
                yield row
    except OSError as error:
        raise BundleError(f"cannot read '{path}': {error.strerror}; expected what vtadl predict wrote") from error


def _state(folder: Path) -> dict[str, Any] | None:
    """What is being done in a folder; ``None`` where nothing is that can be resumed."""
    try:
        state = json.loads((folder / STATE_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) and (folder / LINES_FILE).exists() else None


def _whole_rows(file: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """Rows and the bytes of their lines, up to the first line that is not whole."""
    for line in file:
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            return
        if not isinstance(row, dict) or not isinstance(row.get("file"), str):
            return
        yield row, len(line)


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _identity(row: Mapping[str, Any]) -> Identity:
    """A row without one, of an earlier version, is of no file that is there."""
    try:
        place, size, time = row["identity"]
        return str(place), int(size), int(time)
    except (KeyError, TypeError, ValueError):
        return str(Path(row["file"]).absolute()), _NO_FILE, _NO_FILE


def _cells(row: Mapping[str, Any]) -> list[Any]:
    regions = row.get("regions", ())
    flat = {
        **row,
        "regions": len(regions) if "regions" in row else None,
        "area": sum(region["area"] for region in regions) if "regions" in row else None,
        "box": " ".join(map(str, regions[0]["box"])) if regions else None,
    }
    return [_plain(flat.get(column)) for column in COLUMNS]


def _plain(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, with an apostrophe before it, which it shows as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
