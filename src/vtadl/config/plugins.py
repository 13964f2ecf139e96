"""What other packages add, by entry points: losses (group ``vtadl.losses``) and backbones (``vtadl.backbones``).

Installing a package is the user's word that its code may run; a run folder only names what is installed.
"""

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vtadl.errors import ConfigError

LOSSES, BACKBONES = "vtadl.losses", "vtadl.backbones"


@functools.cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name; nothing of them is imported."""
    return {point.name: point for point in entry_points(group=group)}


def origin(point: EntryPoint) -> str:
    """Which package an entry point is of, as lists show it."""
    return f"of the package {point.dist.name} {point.dist.version}" if point.dist else f"of {point.value}"


def load(group: str, name: str) -> Any:
    """The object behind an entry point.

    Raises:
        ConfigError: it cannot be imported.
    """
    point = installed(group)[name]
    try:
        return point.load()
    except Exception as error:  # Another's code may raise anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"'{name}' {origin(point)} cannot be imported ({reason}); fix or uninstall it") from error
