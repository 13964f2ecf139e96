"""Rows of predictions as a person, or a program, reads them in a terminal."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtadl.decision.card import Card

Row = Mapping[str, Any]
UNREADABLE = "unreadable"


class Tally:
    """Counts verdicts, and remembers the highest score."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._highest: tuple[float, str] | None = None

    def add(self, row: Row) -> None:
        """Count the row of an image."""
        self.counts[kind_of(row)] += 1
        score = row.get("score")
        if score is not None and (self._highest is None or score > self._highest[0]):
            self._highest = (score, row["file"])

    def line(self) -> str:
        """``11 defective, 10 good, 0 unreadable; highest 8.31: line/7.png``."""
        kinds = [kind for kind in ("defective", "review", "good", "scored") if self.counts[kind]]
        if self.counts["defective"] + self.counts["review"] + self.counts["good"]:
            kinds = [kind for kind in ("defective", "review", "good") if kind != "review" or self.counts[kind]]
        counts = ", ".join(f"{self.counts[kind]} {kind}" for kind in (*kinds, UNREADABLE))
        return (
            counts if self._highest is None else f"{counts}; highest {self._highest[0]:.6g}: {_shown(self._highest[1])}"
        )


def kind_of(row: Row) -> str:
    """The verdict; ``unreadable``, or ``scored`` where there is none."""
    if "error" in row:
        return UNREADABLE
    return row["verdict"] or "scored"


def row_line(row: Row) -> str:
    """An image in a line: verdict, score, p-value, file."""
    if "error" in row:
        return f"{UNREADABLE:<10}  {'-':>10}  {'':<10}  {_shown(row['file'])}"
    p_value = "" if row["p_value"] is None else f"p {row['p_value']:.3g}"
    return f"{kind_of(row):<10}  {row['score']:>10.6g}  {p_value:<10}  {_shown(row['file'])}"


def _shown(name: str) -> str:
    """A file's name as a terminal can show it: it may hold bytes that are no text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def print_row(row: Row) -> None:
    """`row_line`, at once."""
    print(row_line(row), flush=True)


def print_json(row: Row) -> None:
    """The row as a line of JSON, as in ``predictions.jsonl``, at once."""
    sys.stdout.write(json.dumps(row, allow_nan=False) + "\n")
    sys.stdout.flush()


def image_lines(row: Row, card: Card | None) -> list[str]:
    """One image in full: score, threshold, p-value, verdict."""
    if "error" in row:
        return []
    lines = [f"score       {row['score']:.6g}"]
    if card is None:
        return [*lines, "verdict     none yet: run vtadl calibrate"]
    lines.append(f"threshold   {card.threshold:.6g}")
    if row["p_value"] is not None:
        lines.append(f"p-value     {row['p_value']:.3g}: good parts score this high at most so often")
    return [*lines, f"verdict     {row['verdict']}"]


class Printed:
    """A place for rows that keeps no files: shows each and counts it."""

    folder = Path()
    """Of pictures, which are not written."""

    def __init__(self, *observers: Any) -> None:
        self._observers = observers

    def add(self, row: Row) -> None:
        """Show the row of an image."""
        for observe in self._observers:
            observe(row)
