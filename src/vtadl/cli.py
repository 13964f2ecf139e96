"""The command line: which commands there are, and what their errors become."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vtadl.commands import (
    backbones,
    calibrate,
    compare,
    completion,
    data,
    demo,
    drift,
    evaluate,
    export,
    generate,
    import_reference,
    info,
    metrics,
    predict,
    serve,
    teach,
    train,
)
from vtadl.commands.arguments import Parser, add_common, warn
from vtadl.config import plugins
from vtadl.errors import ConfigError, VtadlError, VtadlWarning
from vtadl.terminal import take_all_names, terminable, write_all_names
from vtadl.threads import use_threads
from vtadl.version import __version__

OK, FAILED, WRONG_COMMAND, INTERRUPTED = 0, 1, 2, 130

COMMANDS = (
    *(demo, data, train, calibrate, teach, evaluate, metrics, predict, generate, serve),
    *(compare, drift, export, import_reference, info, backbones, completion),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 the data or a check failed, 2 the command line is wrong.
    """
    if arguments is None:
        take_all_names()
    write_all_names()
    options = _parser().parse_args(arguments)
    try:
        plugins.give(getattr(options, "plugin", ()))
        use_threads(options.threads)  # before the command imports torch
        with terminable(), warnings.catch_warnings():
            # Pillow warns of unusual metadata in images that are fine to read.
            warnings.filterwarnings("ignore", module="PIL")
            warnings.simplefilter("always", VtadlWarning)
            show = warnings.showwarning
            warnings.showwarning = partial(_show, show)
            return int(options.run(options))
    except KeyboardInterrupt as interrupt:
        said = str(interrupt) or "interrupted; nothing half-written was left behind: give the same command again"
        print(f"vtadl: {said}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left, as in `vtadl ... | head`: not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (VtadlError, OSError) as error:
        if options.debug:
            raise
        print(f"vtadl: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_COMMAND if isinstance(error, ConfigError) else FAILED


def _show(otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any) -> None:
    """A warning of ours as one line, any other as Python shows it."""
    if issubclass(category, VtadlWarning):
        warn(str(message))
    else:
        otherwise(message, category, *place)


def _help(parser: argparse.ArgumentParser, _: argparse.Namespace) -> int:
    parser.print_help()
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vtadl",
        description="Learn from images of good parts only; show where a new part is abnormal.",
        epilog="Start with: vtadl demo",
    )
    parser.add_argument("--version", action="version", version=f"vtadl {__version__}")
    add_common(parser)
    parser.set_defaults(run=partial(_help, parser), parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add_to(commands)
    return parser
