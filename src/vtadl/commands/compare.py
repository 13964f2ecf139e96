"""``vtadl compare``."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import add_command, add_device, note, progress_of
from vtadl.errors import ConfigError

if TYPE_CHECKING:
    from vtadl.compare.cells import Cell
    from vtadl.compare.outcomes import Outcome

METRIC = "pixel_AUPRO@0.3"


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "compare", "compare losses and detectors over categories and seeds")
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder that holds a folder for each category")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for cells, tables and the page")
    parser.add_argument("--categories", metavar="A,B", help="default: every category under ROOT")
    parser.add_argument(
        "--preset",
        action="append",
        metavar='"NAME [KEY=VALUE...]"',
        help="repeat for several, with settings of its own or without (default: what serves the objectives and trains "
        "soonest)",
    )
    parser.add_argument(
        "--objective",
        action="append",
        default=[],
        metavar="EXPR",
        help="repeat for several (default: the preset's own)",
    )
    parser.add_argument("--seeds", default="0", metavar="0,1,2", help="default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, for the presets that have it"
    )
    parser.add_argument(
        "--sweep", nargs=2, metavar=("EXPR", "A=V,V"), help='a weight\'s values: --sweep "a*mse + vae" a=0.1,1,10'
    )
    parser.add_argument(
        "--metric", default=METRIC, metavar="NAME", help="of eval's eight, what is shown first (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="cells run side by side (default: %(default)s)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster (extra ray): auto, local, HOST:PORT")
    add_device(parser)
    parser.add_argument("--force", action="store_true", help="run the cells again that are done already")


def run(options: argparse.Namespace) -> int:
    """Run the cells that are not done yet; exit code 1 if any failed."""
    from vtadl.compare.compare import compare
    from vtadl.compare.grid import plan_cells
    from vtadl.compare.results import METRICS
    from vtadl.compare.sweep import parse_sweep
    from vtadl.inference.predict import pick_device

    _check(options, METRICS)
    sweep = parse_sweep(*options.sweep) if options.sweep else None
    objectives = [*options.objective, *(sweep.objectives.values() if sweep else ())]
    device = pick_device(options.device)
    cells = plan_cells(
        options.root,
        categories=_names(options.categories),
        presets=options.preset,
        objectives=objectives,
        seeds=_seeds(options.seeds),
        settings=options.set,
    )
    if not options.preset:
        chosen = cells[0].config.preset
        note(options, f"preset {chosen}: it serves the objectives and trains soonest (--preset chooses another)")
    results = compare(
        cells,
        options.out,
        device,
        metric=options.metric,
        sweep=sweep,
        workers=options.workers,
        ray=options.ray,
        force=options.force,
        done=partial(_print_cell, options.metric),
        progress=progress_of(options),
        say=None if options.quiet else partial(note, options),
    )
    print(f"page: {options.out / 'comparison.html'}")
    if results.failed:
        print(f"{results.failed} of {len(cells)} cells failed; the same command tries them again")
    return 1 if results.failed else 0


def _print_cell(metric: str, cell: "Cell", outcome: "Outcome") -> None:
    from vtadl.compare.findings import number

    method = cell.config.objective or cell.preset
    if cell.config.objective and cell.own_settings:
        method = f"{cell.preset}: {cell.config.objective}"
    what = f"{cell.name}  {method}  seed {cell.config.seed}"
    ending = outcome.error or f"{metric} {number(outcome.metrics.get(metric))}"
    print(f"{outcome.status}  {what}  {ending}", flush=True)


def _check(options: argparse.Namespace, metrics: tuple[str, ...]) -> None:
    from vtadl.training.distributed import launched_rank

    if options.metric not in metrics:
        raise ConfigError(f"unknown metric '{options.metric}'; choose from: {', '.join(metrics)}")
    if options.workers < 1:
        raise ConfigError(f"--workers is {options.workers}; expected 1 or more")
    if launched_rank() is not None:
        raise ConfigError("a comparison is not started by torchrun; --workers N runs cells side by side")
    if options.workers > 1 and options.ray is not None:
        raise ConfigError("--workers runs cells on this machine and --ray on a cluster; give one of them")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = [-1]
    if min(seeds) < 0:
        raise ConfigError(f"--seeds is '{text}'; expected numbers from 0, such as 0,1,2")
    return seeds
