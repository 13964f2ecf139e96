"""``vtadl metrics``."""

import argparse
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import (
    add_category,
    add_command,
    add_json,
    add_resolution,
    add_skip_bad,
    progress_of,
    write_json,
)
from vtadl.commands.arguments import warn as print_warning


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "metrics", "compute the same metrics for anybody's saved anomaly maps")
    parser.add_argument(
        "maps",
        type=Path,
        metavar="MAPS",
        help="folder that mirrors CATEGORY: test/<defect>/<name>.npy, .npz, .tiff, .png",
    )
    add_category(parser)
    parser.add_argument(
        "--map-geometry",
        default="whole",
        choices=("whole", "stretched", "center-crop"),
        metavar="whole|stretched|center-crop",
        help="what of its image a map shows (default whole, at its aspect)",
    )
    add_json(parser)
    add_resolution(parser)
    add_skip_bad(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate the maps and print the table."""
    from vtadl.commands.tables import metric_lines
    from vtadl.commands.usable_samples import usable
    from vtadl.data.inspection import empty_classes
    from vtadl.data.layouts import read_category
    from vtadl.evaluation import evaluate_maps

    category = read_category(options.category)
    skip = usable(category.test, empty_classes(category), skip_bad=options.skip_bad, progress=progress_of(options))
    report = evaluate_maps(
        options.maps,
        category,
        resolution=options.resolution,
        geometry=options.map_geometry,
        skip=skip,
        progress=progress_of(options),
    )
    for line in (*category.notes, *report.warnings):
        print_warning(line)
    write_json(options.json, report.to_json())
    if str(options.json) != "-":
        print("\n".join(metric_lines(report)))
    return 0
