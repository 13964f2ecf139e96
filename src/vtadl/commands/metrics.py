"""``vtadl metrics``."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import (
    add_category,
    add_command,
    add_json,
    add_resolution,
    add_skip_bad,
    progress_of,
    text_file,
    write_json,
)
from vtadl.commands.arguments import warn as print_warning
from vtadl.errors import ConfigError

if TYPE_CHECKING:
    from vtadl.evaluation import Report


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "metrics", "compute the same metrics for anybody's saved anomaly maps")
    parser.add_argument(
        "maps",
        type=Path,
        nargs="+",
        metavar="MAPS",
        help="folder that mirrors CATEGORY: test/<defect>/<name>.npy, .npz, .tiff, .png; several are compared",
    )
    add_category(parser)
    parser.add_argument(
        "--map-geometry",
        default="whole",
        choices=("whole", "stretched", "center-crop"),
        metavar="whole|stretched|center-crop",
        help="what of its image a map shows (default whole, at its aspect)",
    )
    parser.add_argument(
        "--scores",
        type=Path,
        action="append",
        metavar="FILE",
        help="image scores, CSV or JSON lines, in place of each map's highest value; one for each MAPS, in their order",
    )
    parser.add_argument(
        "--report", type=text_file, metavar="FILE.html", help="also write a page with curves and differences"
    )
    add_json(parser)
    add_resolution(parser)
    add_skip_bad(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate the maps, compare them where there are several, and print the tables."""
    from vtadl.commands.usable_samples import usable
    from vtadl.data.integrity import empty_classes
    from vtadl.data.layouts import read_category
    from vtadl.evaluation import evaluate_maps
    from vtadl.reports.maps import maps_page, paired
    from vtadl.runs.files import write_text

    names = _names(options.maps)
    scores = options.scores or [None] * len(names)
    if len(scores) != len(names):
        raise ConfigError(f"--scores is given {len(scores)} times for {len(names)} MAPS; give a file for each, or none")
    category = read_category(options.category)
    skip = usable(category.test, empty_classes(category), skip_bad=options.skip_bad, progress=progress_of(options))
    reports = {}
    for (name, folder), own in zip(names.items(), scores, strict=True):
        reports[name] = evaluate_maps(
            folder,
            category,
            resolution=options.resolution,
            geometry=options.map_geometry,
            scores=own,
            skip=skip,
            progress=progress_of(options),
        )
        for line in (*category.notes, *reports[name].warnings):
            print_warning(line if len(names) == 1 else f"{name}: {line}")
    pairs = paired(reports)
    if options.report is not None:
        write_text(options.report, maps_page(reports, f"{category.name}: {', '.join(names)}"))
    write_json(options.json, _content(reports, pairs))
    if str(options.json) != "-":
        _print(reports, pairs)
    return 0


def _names(folders: Sequence[Path]) -> dict[str, Path]:
    """A name for each folder of maps: its own where these differ, else its whole path."""
    own = {folder.name or str(folder): folder for folder in folders}
    names = own if len(own) == len(folders) else {str(folder): folder for folder in folders}
    if len(names) < len(folders):
        raise ConfigError("the same folder of maps is given twice; give two tools' folders, or one")
    return names


def _content(reports: "Mapping[str, Report]", pairs: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """Of one folder its report; of several all of them, and what they differ in."""
    if len(reports) == 1:
        return next(iter(reports.values())).to_json()
    differences = [
        {"first": first, "second": second, "metric": name, **({} if found is None else asdict(found))}
        for (first, second), metrics in pairs.items()
        for name, found in metrics.items()
    ]
    return {"maps": {name: report.to_json() for name, report in reports.items()}, "differences": differences}


def _print(reports: "Mapping[str, Report]", pairs: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    from vtadl.commands.tables import metric_lines
    from vtadl.reports.maps import difference_rows

    for name, report in reports.items():
        if len(reports) > 1:
            print(name)
        print("\n".join(metric_lines(report)))
        print(f"score       of an image: {report.protocol['image_score']}" + "\n" * (len(reports) > 1))
    rows = difference_rows(pairs)
    if rows:
        width = max(len(row[0]) for row in rows)
        print(f"{'maps':<{width}}  {'metric':<18}{'difference':>11}   {'95 % interval':<20}  p")
        for maps, metric, difference, interval, p in rows:
            print(f"{maps:<{width}}  {metric:<18}{difference:>11}   {interval:<20}  {p}")
