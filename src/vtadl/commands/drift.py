"""``vtadl drift``."""

import argparse
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_command, add_json, add_run, write_json


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "drift", "compare a period's predictions with calibration; exit 1 on alarm")
    add_run(parser)
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.jsonl", help="what vtadl predict wrote")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="also draw it over time")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Compare and print; exit code 1 if anything drifted."""
    from vtadl.calibration.drift import find_drift
    from vtadl.inference.predictions_file import read_rows
    from vtadl.reports.drift import drift_page
    from vtadl.runs.files import write_text
    from vtadl.runs.run import load_run

    drift = find_drift(load_run(options.run_folder), read_rows(options.predictions))
    if options.report:
        write_text(options.report, drift_page(drift, f"Drift: {options.predictions}"))
    write_json(options.json, drift.to_json())
    if str(options.json) != "-":
        print(f"{'statistic':<14}{'calibration':>12}{'now':>12}{'difference':>12}{'p-value':>10}")
        for c in drift.comparisons:
            state = "   drifted" if c.drifted else ""
            print(f"{c.name:<14}{c.before:>12.5g}{c.now:>12.5g}{c.difference:>12.2f}{c.p_value:>10.1e}{state}")
        share = "" if drift.not_good is None else f", {100 * drift.not_good:.1f} % not judged good"
        print(f"\nimages      {drift.images} compared with {drift.calibrated_on} of calibration{share}")
        print(f"alarm       {', '.join(drift.alarms) or 'none'}")
        if options.report:
            print(f"report: {options.report}")
    return 1 if drift.alarms else 0
