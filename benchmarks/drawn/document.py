"""Figures in docs/server.md, between the markers of what was measured, with the day and the command."""

import datetime
import re
import sys
from collections.abc import Sequence
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/server.md"


def write_between(name: str, lines: Sequence[str]) -> None:
    """Replace what stands between ``<!-- NAME: ... -->`` and ``<!-- end of NAME -->``."""
    command = " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]])
    content = "\n".join([f"{datetime.date.today():%Y-%m-%d}, `{command}`:", "", *lines])
    text = DOCUMENT.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)"
    changed, count = re.subn(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)
    assert count == 1, f"docs/server.md has no markers of {name}"
    DOCUMENT.write_text(changed, encoding="utf-8")
