"""What is done of a long list of images, on disk: a line each, so that a killed process can be resumed.

OUT/inspection.json     what is being done, by which detector, and whether it is finished
OUT/predictions.jsonl   a line an image
OUT/predictions.csv     the same rows as a table, made again from predictions.jsonl when work resumes
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vtadl.errors import BundleError
from vtadl.runs.files import lock, write_text
from vtadl.runs.run import new_folder

STATE_FILE, LINES_FILE, TABLE_FILE = "inspection.json", "predictions.jsonl", "predictions.csv"
COLUMNS = (
    *("file", "score", "p_value", "verdict", "regions", "area", "box", "milliseconds", "height", "width"),
    *("brightness", "contrast", "sharpness", "scored_at", "overlay", "map", "error"),
)
"""Of the table: ``regions`` counts them, ``area`` sums their pixels, ``box`` is that of the worst one."""


Observe = Callable[[Mapping[str, Any]], object]
"""Called with each row that is added."""


def unobserved(row: Mapping[str, Any]) -> None:
    """Nobody looks."""


class PredictionsFile:
    """The rows of one inspection, each image once.

    Args:
        folder: made by `open_predictions_file`.
        task: what `open_predictions_file` found or wrote.
        observe: called with each row that is added.
    """

    def __init__(self, folder: Path, task: Mapping[str, Any], observe: Observe) -> None:
        self.folder = folder
        self._observe = observe
        self.done: set[str] = set()
        """Files that have a row."""
        self.names: set[str] = set()
        """Pictures that rows refer to."""
        self.failed = 0
        """Rows of files that could not be read."""
        self._task = task
        self._lines = (folder / LINES_FILE).open("r+b")
        lock(self._lines, f"another process is writing to '{folder}'; wait for it, or choose another --out")
        self._lines.truncate(self._replay())
        self._lines.seek(0, 2)
        # A name that is not UTF-8 is written with the bytes that it has.
        self._table_file = (folder / TABLE_FILE).open("a", encoding="utf-8", errors="surrogateescape", newline="")
        self._table = csv.writer(self._table_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._lines.close()
        self._table_file.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Write the row of an image; what it refers to is on disk already."""
        self._lines.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._lines.flush()
        self._table.writerow(_cells(row))
        self._table_file.flush()
        self._count(row)
        self._observe(row)

    def finish(self) -> None:
        """Say that nothing is left to do."""
        write_text(self.folder / STATE_FILE, json.dumps({**self._task, "finished": True}, indent=2) + "\n")

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
        self.done.add(row["file"])
        self.failed += "error" in row
        self.names.update(str(row[key]) for key in ("overlay", "map") if key in row)


def open_predictions_file(
    folder: Path, task: Mapping[str, Any], *, force: bool = False, observe: Observe = unobserved
) -> PredictionsFile:
    """Begin an inspection, or resume an unfinished one.

    Args:
        folder: to write to.
        task: what is to be done by what, as JSON values; work resumes only if it is the same.
        force: replace what is there.
        observe: called with each row that is added.

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
    """The rows of such a file; a half-written last line is left out.

    Raises:
        BundleError: it cannot be read.
    """
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


def _cells(row: Mapping[str, Any]) -> list[Any]:
    regions = row.get("regions", ())
    flat = {
        **row,
        "regions": len(regions) if "regions" in row else None,
        "area": sum(region["area"] for region in regions) if "regions" in row else None,
        "box": " ".join(map(str, regions[0]["box"])) if regions else None,
    }
    return [flat.get(column) for column in COLUMNS]
