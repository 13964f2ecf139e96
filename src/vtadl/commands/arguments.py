"""Arguments that several commands take, and how commands speak."""

import argparse
import codecs
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from vtadl.progress import Progress, bar, lines, silent
from vtadl.runs.files import write_text

Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line that point to the help."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        self.exit(2, f"vtadl: {message}; see {self.prog} --help\n")


def add_command(commands: Any, run: Run, name: str, summary: str) -> Parser:
    """Declare a command of this name, described by a line in lower case."""
    parser: Parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    add_common(parser, argparse.SUPPRESS)
    parser.set_defaults(run=run)
    return parser


def add_common(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """What every command takes, before its name or behind it."""
    off = default or False
    parser.add_argument(
        "--debug", action="store_true", default=off, help="show a traceback where an error ends the command"
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        default=default,
        help="to compute with (default: VTADL_THREADS, else all it may use)",
    )
    parser.add_argument("--quiet", action="store_true", default=off, help="say results, warnings and errors alone")
    parser.add_argument(
        "--verbose", action="store_true", default=off, help="say how far it is in lines, every few seconds"
    )


def progress_of(options: argparse.Namespace) -> Progress:
    """How a command shows how far it is: as ``--quiet`` and ``--verbose`` ask."""
    if options.quiet:
        return silent
    return lines if options.verbose else bar


def say(options: argparse.Namespace, line: str) -> None:
    """Print a line that is no result, unless ``--quiet``."""
    if not options.quiet:
        print(line, flush=True)


def add_category(parser: Parser) -> None:
    """``CATEGORY``."""
    parser.add_argument("category", type=Path, metavar="CATEGORY", help="folder of one product")


def add_run(parser: Parser) -> None:
    """``RUN``, as ``options.run_folder``."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that vtadl train wrote")
    add_plugin(parser)


def add_plugin(parser: Parser) -> None:
    """``--plugin``."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="your own loss, backbone or density that RUN names: a folder alone imports nothing",
    )


def add_json(parser: Parser) -> None:
    """``--json FILE``."""
    parser.add_argument("--json", type=text_file, metavar="FILE", help="also write it as JSON; - is standard output")


def text_file(text: str) -> Path:
    """A file to write JSON or a page to: one that is there already must hold such, not a picture or anyone's notes."""
    path = Path(text)
    beginning = b""
    # What cannot be read cannot be written either, most likely, and is said when it is.
    with contextlib.suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                beginning = file.read(32).removeprefix(codecs.BOM_UTF8).lstrip()
    if beginning and beginning[:1] not in b"{[<":
        raise argparse.ArgumentTypeError(f"'{path}' exists and holds neither JSON nor a page; give another name")
    return path


def add_resolution(parser: Parser) -> None:
    """``--resolution``, as pixels or ``None`` for the masks' own."""
    parser.add_argument(
        "--resolution",
        type=_resolution,
        metavar="native|N",
        help="shorter side to compare at, in pixels (default native: the masks' own)",
    )


def add_device(parser: Parser) -> None:
    """``--device``."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: %(default)s")


def add_skip_bad(parser: Parser) -> None:
    """``--skip-bad``."""
    parser.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be used, and list them")


def add_force(parser: Parser) -> None:
    """``--force``."""
    parser.add_argument("--force", action="store_true", help="replace what an earlier run wrote to --out")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on; got '{text}'")
    return int(text)


def _resolution(text: str) -> int | None:
    if text == "native":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected native, or a number of pixels such as 256; got '{text}'")
    return int(text)


def warn(line: str) -> None:
    """Say something that the user should read, on stderr."""
    print(f"vtadl: warning: {line}", file=sys.stderr)


def note(options: argparse.Namespace, line: str) -> None:
    """`say` on stderr, for commands whose results may be JSON on standard output."""
    if not options.quiet:
        print(f"vtadl: {line}", file=sys.stderr, flush=True)


def show(path: Path | None, content: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Write what ``--json`` asks for, and print the lines of the same unless that went to standard output."""
    write_json(path, content)
    if str(path) != "-":
        print("\n".join(lines))


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write what ``--json`` asks for."""
    if path is None:
        return
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        write_text(path, text)
