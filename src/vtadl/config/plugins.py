"""What others add: losses, backbones and densities, by entry points or as ``module:attribute``.

Installing a package is the user's word that its code may run, and so is a name that they type or an object that they
pass. A run folder's word is none: what it names is imported only if it is installed or was given in this process.
"""

import functools
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

LOSSES, BACKBONES, DENSITIES = "vtadl.losses", "vtadl.backbones", "vtadl.densities"
NAME = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"
"""``module:attribute``, such as ``mypkg.losses:focal``."""

_given: dict[str, Any] = {}
"""What the user gave in this process, by name; ``None`` of what was named and is not imported yet."""


@functools.cache
def installed(group: str) -> "dict[str, EntryPoint]":
    """The entry points of a group by name; nothing of them is imported."""
    from importlib.metadata import entry_points  # takes a while

    return {point.name: point for point in entry_points(group=group)}


def is_known(group: str, name: str) -> bool:
    """Whether a name is that of an entry point, or ``module:attribute``."""
    return re.fullmatch(NAME, name, re.ASCII) is not None or name in installed(group)


def origin(point: "EntryPoint") -> str:
    """Which package an entry point is of, as lists show it."""
    return f"of the package {point.dist.name} {point.dist.version}" if point.dist else f"of {point.value}"


def give(texts: Iterable[str]) -> None:
    """Let what the user's own words name be imported when it is needed: settings, objectives, names."""
    for text in texts:
        for name in re.findall(NAME, text, re.ASCII):
            _given.setdefault(name, None)


def given() -> list[str]:
    """The names that were given, for a process that does a part of this one's work."""
    return list(_given)


def named(thing: Any) -> str:
    """The name of what the user gives: a text as it is, of an object the place where it is defined."""
    if isinstance(thing, str):
        give([thing])
        return thing
    of = thing if hasattr(thing, "__qualname__") else type(thing)
    name = re.sub(r"[^\w.:]", "", f"{of.__module__}:{of.__qualname__}", flags=re.ASCII)  # of <lambda>, <locals>
    _given[name] = thing
    return name


def load(group: str, name: str) -> Any:
    """The object behind an entry point or a name.

    Raises:
        PluginError: the user did not give it, or it cannot be imported.
    """
    point = None if ":" in name else installed(group)[name]
    if point is None and name not in _given:
        raise PluginError(
            f"'{name}' is code of others, which is imported only where you name it: add --plugin {name} "
            f"(in Python: vtadl.load(..., plugins=['{name}']))"
        )
    if point is None and _given[name] is not None:
        return _given[name]
    try:
        return _imported(name) if point is None else point.load()
    except Exception as error:  # Another's code may raise anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        of, fix = ("", "check the name") if point is None else (f" {origin(point)}", "fix or uninstall it")
        raise PluginError(f"'{name}'{of} cannot be imported ({reason}); {fix}") from error


def _imported(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last: a file here stands in for nothing that is installed
    module, _, attributes = name.partition(":")
    found = functools.reduce(getattr, attributes.split("."), import_module(module))
    _given[name] = found
    return found
