"""``vtadl teach`` and ``vtadl rollback``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import add_command, add_device, add_json, add_run, add_skip_bad, progress_of, show
from vtadl.errors import ConfigError, DataError
from vtadl.runs.record import read_record

if TYPE_CHECKING:
    from vtadl.calibration.teaching import BeforeAfter, Teaching

SHOWN = 10
"""Images listed, at most."""


def add_to(commands: Any) -> None:
    """Declare the commands."""
    parser = add_command(commands, run, "teach", "learn new good parts, without training again")
    add_run(parser)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of new good parts")
    parser.add_argument(
        "--defective", type=Path, metavar="FOLDER", help="known defective parts: say what happens to their scores"
    )
    parser.add_argument(
        "--category",
        type=Path,
        metavar="CATEGORY",
        help="where the images that it was trained on are now, if they moved",
    )
    parser.add_argument(
        "--no-threshold", action="store_true", help="set no threshold again; verdicts wait for vtadl calibrate"
    )
    add_json(parser)
    add_device(parser)
    add_skip_bad(parser)
    parser = add_command(commands, run_rollback, "rollback", "make an earlier version of a run the current one")
    add_run(parser)
    parser.add_argument("--to", type=int, metavar="N", help="the version's number (default: the one before)")


def run(options: argparse.Namespace) -> int:
    """Teach, replace the run, keep its earlier version, say what changed."""
    read_record(options.run_folder)  # before torch is loaded
    from vtadl.calibration.teaching import teach
    from vtadl.commands.usable_samples import usable
    from vtadl.data.layouts import read_category
    from vtadl.decision.card import CARD_FILE
    from vtadl.inference.predict import pick_device
    from vtadl.reports.card import PAGE_FILE, card_files
    from vtadl.runs.run import load_run, run_files
    from vtadl.runs.versions import change_run
    from vtadl.training.teach import check_teachable

    device = pick_device(options.device)
    loaded = load_run(options.run_folder)
    check_teachable(loaded)
    category, progress = read_category(options.folder), progress_of(options)
    skip = usable(category.train + category.validation, skip_bad=options.skip_bad, progress=progress)
    try:
        teaching = teach(
            loaded,
            options.folder,
            device,
            defective=options.defective,
            moved_to=options.category,
            threshold=not options.no_threshold,
            skip=skip,
            progress=progress,
        )
    except DataError as error:
        if loaded.card is None or options.no_threshold:
            raise
        raise DataError(f"{error} (--no-threshold leaves the threshold to a later vtadl calibrate)") from error
    after = teaching.run
    pages = {CARD_FILE: None, PAGE_FILE: None} if after.card is None else card_files(after.card)
    version = change_run(options.run_folder, {**run_files(after), **pages}, f"taught {_images(teaching.learned)}")
    where = f"version {version.number}: {options.run_folder}; vtadl rollback takes it back"
    show(options.json, {**teaching.to_json(), "version": version.number}, [*_lines(teaching), where])
    return 0


def run_rollback(options: argparse.Namespace) -> int:
    """Bring back an earlier version."""
    if options.to is not None and options.to < 1:
        raise ConfigError(f"--to is {options.to}; expected a version's number, from 1 on")
    from vtadl.runs.versions import roll_back

    version = roll_back(options.run_folder, options.to)
    print(f"{version.change}, which is version {version.number} now; nothing was lost")
    return 0


def _lines(teaching: "Teaching") -> list[str]:
    source, card = teaching.run.source, teaching.run.card
    held_out = f", {len(teaching.held_out)} more held out" if teaching.held_out else ""
    lines = [f"taught {_images(teaching.learned)} in {teaching.seconds} s: {source.trained_on} learned now{held_out}"]
    if teaching.threshold_before is not None:
        now = "none; run vtadl calibrate" if card is None else f"{card.threshold:.6g}"
        lines.append(f"threshold {teaching.threshold_before:.6g} before, now {now}")
    groups = {
        "taught parts": (*teaching.learned, *teaching.held_out),
        "defective parts": teaching.defective,
    }
    for name, images in groups.items():
        lines += _group_lines(name, images)
    return lines


def _group_lines(name: str, images: "Sequence[BeforeAfter]") -> list[str]:
    """How many are judged good; of defective parts also the scores, the lowest first: what is nearest to passing."""
    if not images:
        return []
    from vtadl.calibration.teaching import good_before_after

    before, after = good_before_after(images)
    lines = []
    if images[0].verdict_before is not None and images[0].verdict_after is not None:
        lines.append(f"{name} judged good: {before} of {len(images)} before, {after} now")
    if name == "taught parts":
        return lines
    lines.append(f"{'before':>12}{'now':>12}  {name}")
    ranked = sorted(images, key=lambda one: one.score_after)
    for one in ranked[:SHOWN]:
        passes = " passes as good" if one.verdict_after == "good" else ""
        lines.append(f"{one.score_before:>12.6g}{one.score_after:>12.6g}  {one.path}{passes}")
    more = len(ranked) - SHOWN
    return [*lines, f"{'':>26}and {more} that score higher"] if more > 0 else lines


def _images(images: "Sequence[BeforeAfter]") -> str:
    return f"{len(images)} image{'' if len(images) == 1 else 's'}"
