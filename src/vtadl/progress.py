"""How far a long piece of work is: a bar on a terminal, lines elsewhere, nothing for what is done at once."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Says that more is done."""

    def __call__(self, count: int, note: str = "", /) -> object:
        """``count`` more images are done; ``note`` stands behind the bar until the next one."""


Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""``with progress("scoring", 100) as advance: ... advance(8)``."""

DELAY_SECONDS = 2.0
"""What is done sooner shows no bar."""
BAR_SECONDS = 0.1
"""Between two drawings of a bar."""
LINE_SECONDS = 30.0
"""Between two lines, at most, where there is no terminal."""
LINE_SHARE = 0.1
"""Of the work between two lines, at most."""
FEWEST_SECONDS = 10.0
"""Between two lines, at least; what is done sooner says nothing."""
VERBOSE_SECONDS = 3.0
"""Between two lines, with ``--verbose``."""


@contextmanager
def silent(label: str, total: int) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda count, note="": None


def bar(label: str, total: int) -> AbstractContextManager[Advance]:
    """How far it is, on stderr: on a terminal a bar with the time left, elsewhere a line now and then."""
    if sys.stderr.isatty():
        return _bar(label, total)
    return _lines(label, total, LINE_SECONDS, FEWEST_SECONDS)


def lines(label: str, total: int) -> AbstractContextManager[Advance]:
    """How far it is, on stderr: a line every few seconds, and one when it begins and ends."""
    return _lines(label, total, VERBOSE_SECONDS, VERBOSE_SECONDS, ends=True)


def within(progress: Progress, prefix: str) -> Progress:
    """The same, with the step that the work is part of before each label."""
    return lambda label, total: progress(f"{prefix}{label}", total)


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    """A bar with images a second and the time left, from the third second on."""
    from tqdm import tqdm  # loaded where something is shown: not by every command

    with tqdm(
        total=total, desc=label, unit=" images", delay=DELAY_SECONDS, leave=False, mininterval=BAR_SECONDS
    ) as shown:

        def advance(count: int, note: str = "") -> None:
            if note:
                shown.set_postfix_str(note, refresh=False)
            shown.update(count)

        yield advance


@contextmanager
def _lines(label: str, total: int, most: float, fewest: float, *, ends: bool = False) -> Iterator[Advance]:
    """A line each time when ``most`` seconds, or a tenth of the work and ``fewest`` seconds, have passed."""
    started = time.monotonic()
    said_at, said, done = started, 0, 0

    def advance(count: int, note: str = "") -> None:
        nonlocal said_at, said, done
        done += count
        now = time.monotonic()
        passed = now - said_at
        if done < total and (passed >= most or (passed >= fewest and done - said >= LINE_SHARE * total)):
            _say(_so_far(label, done, total, now - started, note))
            said_at, said = now, done

    if ends:
        _say(f"{label}: {total} to do")
    yield advance
    if ends:
        _say(f"{label}: done in {time.monotonic() - started:.1f} s")


def _so_far(label: str, done: int, total: int, seconds: float, note: str) -> str:
    left = seconds / done * (total - done) if done else math.nan
    share = f"{label}: {100 * done / total:.0f} %, {done} of {total}, {duration(left)} left"
    return f"{share}, {note}" if note else share


def _say(line: str) -> None:
    sys.stderr.write(f"vtadl: {line}\n")
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """A time that is no more exact than an estimate is: ``40 s``, ``12 min``, ``2.5 h``."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
