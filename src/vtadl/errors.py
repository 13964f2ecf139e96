"""The errors a user can meet. Each message is one line: what was expected, what came, which file, how to fix it."""

import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LONGEST = 1500
"""Characters of a message, at most."""


class VtadlError(Exception):
    """Base of all errors that vtadl raises on purpose; the command line prints them without a traceback."""

    def __str__(self) -> str:
        """The message in a line, whatever it quotes of a file; where that is long, without its middle."""
        message = " ".join(super().__str__().splitlines())
        return message if len(message) <= LONGEST else f"{message[: LONGEST // 2]}[...]{message[-LONGEST // 3 :]}"


class ConfigError(VtadlError, ValueError):
    """A setting, preset, objective or flag that cannot be."""


class PluginError(ConfigError):
    """A loss, backbone or density of another's code that was not given, or cannot be imported."""


class DataError(VtadlError, ValueError):
    """An image, mask, anomaly map or folder of images that cannot be used."""


class BundleError(VtadlError, ValueError):
    """A run folder that is damaged, incomplete, newer than this version, or in the way."""


class TrainingError(VtadlError, RuntimeError):
    """Training cannot continue: a loss became NaN, embeddings collapsed, the disk is full."""


class TrainingInterrupted(KeyboardInterrupt):  # like its base, no error
    """Ctrl-C ended a training in order; the message says how far it came and how to resume."""


class ExportError(VtadlError, RuntimeError):
    """An exported model that does not say what the detector says; it is not kept."""


class DependencyError(VtadlError, ImportError):
    """An optional package is missing; the message names the extra that brings it."""


@contextmanager
def optional(what: str, extra: str) -> Iterator[None]:
    """For the import of a package that only some things need.

    Raises:
        DependencyError: it is missing; the message says what needs it, and the extra.
    """
    try:
        yield
    except ImportError as error:
        raise DependencyError(f"{what} needs {error.name}; fix: pip install 'vtadl[{extra}]'") from error


class VtadlWarning(UserWarning):
    """What the user should know although the work is done; the command line prints it as one line."""


def warn_caller(line: str) -> None:
    """Warn whoever called into this package, where that was; the command line prints the line."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "vtadl":
        frame, level = frame.f_back, level + 1
    warnings.warn(VtadlWarning(line), stacklevel=level)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """What to add to an error about an unknown name: the choice that is most like it, if any is."""
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
