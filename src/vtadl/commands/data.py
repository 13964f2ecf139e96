"""``vtadl data check``."""

import argparse
from typing import Any

from vtadl.commands.arguments import Parser, add_category, add_command, add_json, progress_of, show


def add_to(commands: Any) -> None:
    """Declare the command."""
    summary = "look at folders of images"
    parser = commands.add_parser("data", help=summary, description=f"{summary.capitalize()}.")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    check = add_command(actions, run_check, "check", "say what a category holds and what is wrong with it")
    add_category(check)
    add_json(check)


def run_check(options: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if training would fail."""
    from vtadl.data.check import check_category
    from vtadl.data.layouts import read_category

    report = check_category(read_category(options.category), progress=progress_of(options))
    show(options.json, report.to_json(), report.lines())
    return 1 if report.errors else 0
