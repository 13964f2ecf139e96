"""Progress bars: only on a terminal, and only for what takes longer than two seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from tqdm import tqdm


class Advance(Protocol):
    """Says that more is done."""

    def __call__(self, count: int, note: str = "", /) -> object:
        """``count`` more images are done; ``note`` stands behind the bar until the next one."""


Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""``with progress("scoring", 100) as advance: ... advance(8)``."""

DELAY_SECONDS = 2.0


@contextmanager
def silent(label: str, total: int) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda count, note="": None


@contextmanager
def bar(label: str, total: int) -> Iterator[Advance]:
    """A bar with images a second and the time left, on stderr if that is a terminal, from the third second on."""
    disable = not sys.stderr.isatty()
    with tqdm(total=total, desc=label, unit=" images", delay=DELAY_SECONDS, disable=disable, leave=False) as shown:

        def advance(count: int, note: str = "") -> None:
            if note:
                shown.set_postfix_str(note, refresh=False)
            shown.update(count)

        yield advance
