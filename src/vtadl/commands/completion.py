"""``vtadl completion``: what a shell needs to complete commands, flags and files."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_command
from vtadl.errors import optional

SHELLS = ("bash", "zsh", "tcsh")


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "completion", "print a shell's completion of commands, flags and files")
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))
    parser.epilog = 'In bash: eval "$(vtadl completion bash)".'


def run(options: argparse.Namespace) -> int:
    """Print the script; ``options.parser`` is the whole command line's."""
    with optional("completion", "completion"):
        import shtab
    for action in _actions(options.parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(options.parser, options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Of a parser and those of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
