"""``vtadl demo``."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import add_command, add_device, add_force, progress_of, say

if TYPE_CHECKING:
    import torch

    from vtadl.reports.evaluation import Evaluated

DEFAULT_OUT = Path("vtadl-demo")
REPORT, IMAGES, RUNS = "report.html", "images", "runs"

NEXT_STEPS = """\
On a page, with pictures to try (pip install 'vtadl[server]'):
  vtadl serve --demo{demo}
With your own images, PARTS being a folder of good ones:
  vtadl train PARTS --out runs/parts --calibrate      learn from them
  vtadl predict runs/parts NEW --out predictions      see where new ones differ
  vtadl eval runs/parts PARTS --report report.html    measure, with defective
                                                      ones in PARTS/bad, and
                                                      the good in PARTS/good"""


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "demo", "see it work on photographs: train, evaluate, write a report")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="folder to write to (default %(default)s)"
    )
    add_device(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Do all steps, and say what came of them and what to do next."""
    from vtadl.commands.tables import metric_lines
    from vtadl.config.presets import DEFAULT_PRESET
    from vtadl.demo.photographs import ATTRIBUTION, copy_demo
    from vtadl.inference.predict import pick_device
    from vtadl.reports.evaluation import write_report
    from vtadl.runs.folders import check_free, new_folder

    started = time.perf_counter()
    device = pick_device(options.device)
    check_free(options.out, force=options.force)
    with new_folder(options.out, force=options.force) as folder:
        one = _train_and_evaluate(copy_demo(folder / IMAGES), folder / RUNS, device, options)
        say(options, "writing the report ...")
        write_report(folder / REPORT, one, device, title=f"vtadl demo: {DEFAULT_PRESET}", note=ATTRIBUTION)
    print(f"\n{one.category.name}")
    print("\n".join(metric_lines(one.report)))
    print(f"\nall of it in {time.perf_counter() - started:.0f} s: {options.out / IMAGES}, {options.out / RUNS}")
    print(f"report: {options.out / REPORT}\n")
    print(NEXT_STEPS.format(demo="" if options.out == DEFAULT_OUT else f" {options.out}"))
    return 0


def _train_and_evaluate(root: Path, runs: Path, device: "torch.device", options: argparse.Namespace) -> "Evaluated":
    from vtadl.calibration.calibrate import Request, calibrate
    from vtadl.calibration.images import gather
    from vtadl.config.presets import DEFAULT_PRESET, preset_config
    from vtadl.data.layouts import read_category
    from vtadl.evaluation import evaluate_run
    from vtadl.reports.card import write_card
    from vtadl.reports.evaluation import Evaluated
    from vtadl.runs.run import save_run
    from vtadl.training.train import train_run

    category = read_category(root)
    say(options, f"learning from {len(category.train)} good images of {category.name} ...")
    trained = train_run(preset_config(DEFAULT_PRESET), category, device, progress=progress_of(options))
    save_run(trained, runs / category.name)
    # So few are held out that the lowest rate that they support is what is asked for.
    rate = 1 / (len(trained.held_out.scores) + 1)
    card = calibrate(trained, gather(trained, device), Request(false_reject_rate=rate))
    write_card(runs / category.name, card)
    say(options, f"scoring {len(category.test)} test images of {category.name} ...")
    return Evaluated(
        run=trained, category=category, report=evaluate_run(trained, category, device, progress=progress_of(options))
    )
