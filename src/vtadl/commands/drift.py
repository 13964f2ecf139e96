"""``vtadl drift``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import add_command, add_json, add_run, show, text_file

if TYPE_CHECKING:
    from vtadl.calibration.drift import Drift


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "drift", "compare a period's predictions with calibration; exit 1 on alarm")
    add_run(parser)
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.jsonl", help="what vtadl predict wrote")
    parser.add_argument("--report", type=text_file, metavar="FILE.html", help="also draw it over time")
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
    where = [f"report: {options.report}"] if options.report else []
    show(options.json, drift.to_json(), [*_lines(drift), *where])
    return 1 if drift.alarms else 0


def _lines(drift: "Drift") -> list[str]:
    """The comparison with its limits beside the numbers, and what share was not judged good."""
    from vtadl.calibration.drift import CHANCE, LARGE

    head = f"{'statistic':<12}{'calibration':>12}{'now':>12}{'difference':>12}{'limit':>7}{'p':>9}{'limit':>7}"
    lines = [head]
    for c in drift.comparisons:
        state = "  drifted" if c.drifted else ""
        numbers = f"{c.before:>12.5g}{c.now:>12.5g}{c.difference:>12.2f}{LARGE:>7g}"
        lines.append(f"{c.name:<12}{numbers}{c.corrected_p:>9.1e}{CHANCE:>7g}{state}")
    lines += ["", f"images      {drift.images} compared with {drift.calibrated_on} of calibration"]
    if drift.not_good is not None:
        expected = "" if drift.expected is None else f"; calibration expects {100 * drift.expected:.3g} %"
        lines.append(f"not good    {100 * drift.not_good:.1f} % of them{expected}")
        if drift.many_rejects:
            lines.append("            many parts differ although no statistic drifted as a whole: look at them")
    return [
        *lines,
        f"alarm       {', '.join(drift.alarms) or 'none: an alarm takes a difference and a p past both limits'}",
    ]
