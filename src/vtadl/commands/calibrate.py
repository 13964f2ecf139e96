"""``vtadl calibrate``."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import (
    Parser,
    add_command,
    add_device,
    add_json,
    add_run,
    add_skip_bad,
    note,
    progress_of,
    show,
    warn,
)
from vtadl.errors import ConfigError
from vtadl.runs.record import read_record

if TYPE_CHECKING:
    import torch

    from vtadl.calibration.calibrate import Request
    from vtadl.calibration.cross_fit import Need
    from vtadl.decision.card import CalibrationSet
    from vtadl.runs.run import Run


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "calibrate", "set the verdict's threshold, and say what it promises")
    add_run(parser)
    _add_thresholds(parser)
    _add_images(parser)
    add_json(parser)
    add_device(parser)
    add_skip_bad(parser)


def _add_thresholds(parser: Parser) -> None:
    decide = parser.add_argument_group("the threshold (one of these)")
    decide.add_argument(
        "--false-reject-rate", type=float, metavar="P", help="share of good parts that may be rejected (default 0.05)"
    )
    decide.add_argument("--threshold", type=float, metavar="SCORE", help="by hand")
    decide.add_argument(
        "--miss-rate", type=float, metavar="P", help="share of defects like the labelled ones that may pass"
    )
    decide.add_argument("--miss-cost", type=float, metavar="C", help="cost of a missed defect, in rejected good parts")
    parser.add_argument(
        "--defect-share", type=float, metavar="P", help="with --miss-cost: defective share of the line (default 0.01)"
    )
    band = parser.add_argument_group("a second band, for a person to look at (one of these)")
    band.add_argument("--review-rate", type=float, metavar="P", help="share of good parts that may not pass as good")
    band.add_argument("--review-threshold", type=float, metavar="SCORE", help="by hand")
    parser.add_argument(
        "--outline-rate", type=float, metavar="P", help="share of good parts with any outline (default: as verdicts)"
    )


def _add_images(parser: Parser) -> None:
    images = parser.add_argument_group("more images")
    images.add_argument(
        "--cross-fit", type=Path, metavar="CATEGORY", help="also score the images that it was trained on, by others"
    )
    images.add_argument(
        "--add-good", type=Path, action="append", default=[], metavar="FOLDER", help="all good parts of a period"
    )
    images.add_argument(
        "--add-rejects", type=Path, action="append", default=[], metavar="FOLDER", help="rejects that were fine"
    )
    images.add_argument("--labelled", type=Path, metavar="CATEGORY", help="good and defective test images")
    images.add_argument("--fresh", action="store_true", help="forget what earlier calibrations added")


def run(options: argparse.Namespace) -> int:
    """Calibrate, write the card, print it."""
    read_record(options.run_folder)  # before torch is loaded
    from vtadl.calibration.calibrate import Request
    from vtadl.inference.predict import pick_device
    from vtadl.runs.run import load_run

    request = Request(
        false_reject_rate=options.false_reject_rate,
        threshold=options.threshold,
        miss_rate=options.miss_rate,
        miss_cost=options.miss_cost,
        defect_share=0.01 if options.defect_share is None else options.defect_share,
        review_rate=options.review_rate,
        review_threshold=options.review_threshold,
        outline_rate=options.outline_rate,
    )
    if options.defect_share is not None and options.miss_cost is None:
        raise ConfigError("--defect-share goes with --miss-cost; give both or none")
    device = pick_device(options.device)
    loaded = load_run(options.run_folder)
    write_calibrated(options, loaded, options.run_folder, _gathered(options, loaded, device), request, device)
    return 0


def write_calibrated(
    options: argparse.Namespace,
    loaded: "Run",
    folder: Path,
    sets: "Sequence[CalibrationSet]",
    request: "Request",
    device: "torch.device",
) -> None:
    """Calibrate a run on some images, and on those it was trained on where they are too few; write and print its card.

    Raises:
        ConfigError: requests that cannot be, or not together.
        DataError: the images cannot support what is asked for.
    """
    from vtadl.calibration.calibrate import calibrate, lowest_asked
    from vtadl.calibration.cross_fit import need_of_cross_fit
    from vtadl.commands.tables import card_lines
    from vtadl.reports.card import PAGE_FILE, card_files
    from vtadl.runs.versions import change_run

    need = need_of_cross_fit(loaded, sets, lowest_asked(request))
    if need is not None:
        sets = _cross_fitted(options, loaded, sets, need, device)
    card = calibrate(loaded, sets, request)
    change_run(folder, card_files(card), f"calibrated: {card.method}")
    show(options.json, asdict(card), [*card_lines(card), f"card: {folder / PAGE_FILE}"])


def _cross_fitted(
    options: argparse.Namespace,
    loaded: "Run",
    sets: "Sequence[CalibrationSet]",
    need: "Need",
    device: "torch.device",
) -> "Sequence[CalibrationSet]":
    """The sets with the images that the run was trained on, and a line on what that costs before and after."""
    from vtadl.calibration.cross_fit import FOLDS, cross_fitted
    from vtadl.commands.usable_samples import usable
    from vtadl.progress import duration

    progress, category = progress_of(options), need.category
    cost = "" if need.seconds is None else f", about {duration(need.seconds)}"
    note(
        options,
        f"{need.images} good images are left to calibrate on and the rate takes {need.needed}, so {FOLDS} other "
        f"detectors are trained to score the images that this one was trained on{cost}",
    )
    started = time.perf_counter()
    skip = usable(category.train + category.validation, skip_bad=options.skip_bad, progress=progress)
    found = cross_fitted(loaded, category, device, skip, progress)
    note(options, f"cross-fitting {len(found.scores)} images took {duration(time.perf_counter() - started)}")
    return [*sets, found]


def _gathered(options: argparse.Namespace, loaded: "Run", device: "torch.device") -> "Sequence[CalibrationSet]":
    from vtadl.calibration.images import gather
    from vtadl.commands.usable_samples import usable
    from vtadl.data.layouts import read_category

    progress = progress_of(options)
    cross_fit = None if options.cross_fit is None else read_category(options.cross_fit)
    labelled = None if options.labelled is None else read_category(options.labelled)
    samples = () if cross_fit is None else cross_fit.train + cross_fit.validation
    samples += () if labelled is None else labelled.test
    return gather(
        loaded,
        device,
        cross_fit=cross_fit,
        add_good=options.add_good,
        add_rejects=options.add_rejects,
        labelled=labelled,
        fresh=options.fresh,
        skip=usable(samples, skip_bad=options.skip_bad, progress=progress),
        on_bad=(lambda _, error: warn(f"skipped: {error}")) if options.skip_bad else None,
        progress=progress,
    )
