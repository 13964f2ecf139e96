"""``vtadl eval``."""

import argparse
from typing import Any

from vtadl.commands.arguments import (
    add_category,
    add_command,
    add_device,
    add_json,
    add_resolution,
    add_run,
    add_skip_bad,
    progress_of,
    show,
    text_file,
)
from vtadl.commands.arguments import warn as print_warning
from vtadl.errors import ConfigError
from vtadl.runs.record import read_record


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "eval", "compute every metric on a category's test images")
    add_run(parser)
    add_category(parser)
    add_json(parser)
    parser.add_argument(
        "--report", type=text_file, metavar="FILE.html", help="also write an HTML report with heat maps"
    )
    add_resolution(parser)
    parser.add_argument(
        "--protocol", choices=["vtadl-2021"], help="measure also what that paper's code calls PRO (it is none)"
    )
    add_device(parser)
    add_skip_bad(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    read_record(options.run_folder)  # before torch is loaded
    from vtadl.commands.tables import metric_lines
    from vtadl.commands.usable_samples import usable
    from vtadl.data.integrity import empty_classes
    from vtadl.data.layouts import read_category
    from vtadl.evaluation import evaluate_run
    from vtadl.inference.predict import pick_device
    from vtadl.runs.run import load_run
    from vtadl.runs.unseen import unseen_by

    if options.report and options.report.is_dir():
        raise ConfigError(f"--report is the folder '{options.report}'; expected a file, such as report.html")
    device = pick_device(options.device)
    loaded = load_run(options.run_folder)
    category = unseen_by(loaded, read_category(options.category))
    progress = progress_of(options)
    skip = usable(category.test, empty_classes(category), skip_bad=options.skip_bad, progress=progress)
    report = evaluate_run(
        loaded,
        category,
        device,
        resolution=options.resolution,
        protocol=options.protocol,
        skip=skip,
        progress=progress,
    )
    for line in (*category.notes, *report.warnings):
        print_warning(line)
    if options.report:
        from vtadl.reports.evaluation import Evaluated, write_report

        evaluated = Evaluated(run=loaded, category=category, report=report)
        write_report(options.report, evaluated, device, title=f"{category.name}: {loaded.config.preset}")
    where = [f"report: {options.report}"] if options.report else []
    show(options.json, report.to_json(), [*metric_lines(report), *where])
    return 0
