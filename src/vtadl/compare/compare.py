"""Run the cells of a comparison, each once, and write what is known after each of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from vtadl.compare.cells import CELLS_FOLDER, Cell, forget, pending, run_cell
from vtadl.compare.forecast import Forecast
from vtadl.compare.outcomes import Outcome, read_outcome
from vtadl.compare.results import Results, write_results
from vtadl.compare.sweep import Sweep
from vtadl.compare.workers import run_on_ray, run_side_by_side
from vtadl.errors import BundleError
from vtadl.progress import Progress, silent
from vtadl.runs.files import lock

LOCK_FILE = ".lock"

Done = Callable[[Cell, Outcome], object]


def compare(
    cells: Sequence[Cell],
    out: Path,
    device: torch.device,
    *,
    metric: str,
    sweep: Sweep | None = None,
    workers: int = 1,
    ray: str | None = None,
    force: bool = False,
    done: Done = lambda cell, outcome: None,
    progress: Progress = silent,
    say: Callable[[str], object] | None = None,
) -> Results:
    """Run the cells that are not done yet, and write the tables and the page after each.

    Other cells in the folder are left alone, and not in the tables. ``workers`` processes share the machine's threads;
    the nodes of a Ray cluster all see the images and the folder. ``done`` is called with each cell as it ends, whether
    now or earlier. ``say`` is told how long the cells take before any begins, and what is left after each; without it
    that is not measured.

    Raises:
        BundleError: ``out`` is in the way, or another comparison is writing to it.
        KeyboardInterrupt: after checkpoints were written; the message says how to resume.
    """
    with _claimed(out):
        outcomes = _earlier(cells, out, force=force)
        results = Results(out=out, cells=tuple(cells), outcomes=outcomes, metric=metric, sweep=sweep)
        for cell, outcome in outcomes.items():
            if outcome.status == "done":
                done(cell, outcome)

        def note(cell: Cell, outcome: Outcome) -> None:
            outcomes[cell] = outcome
            done(cell, outcome)
            write_results(results)

        with _told_how_far(outcomes):
            _run(results, device, note, workers=workers, ray=ray, progress=progress, say=say)
        write_results(results)
    return results


def _earlier(cells: Sequence[Cell], out: Path, *, force: bool) -> dict[Cell, Outcome]:
    """What came of each cell in earlier calls, which ``force`` forgets."""
    if force:
        for cell in cells:
            forget(out / cell.place)
    return {cell: read_outcome(out / cell.place) or pending(cell) for cell in cells}


def _run(
    results: Results,
    device: torch.device,
    note: Done,
    *,
    workers: int,
    ray: str | None,
    progress: Progress,
    say: Callable[[str], object] | None,
) -> None:
    """Run what is not done: on a cluster, side by side, or in turn; and say how long it takes."""
    todo = [cell for cell, outcome in results.outcomes.items() if outcome.status != "done"]
    if ray is not None:  # a cluster's machines are not this one: nothing to measure
        run_on_ray(todo, results.out, device, ray, note)
        return
    forecast = Forecast(todo, device, workers) if say and todo else None
    if say and forecast:
        say(forecast.line(len(results.cells) - len(todo)))

    def timed(cell: Cell, outcome: Outcome) -> None:
        note(cell, outcome)
        if say and forecast and (left := forecast.after(cell)):
            say(left)

    if workers > 1 and len(todo) > 1:
        run_side_by_side(todo, results.out, device, workers, timed)
    else:
        for cell in todo:
            timed(cell, run_cell(cell, results.out, device, progress=progress))


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """The folder, there and kept from other comparisons."""
    if out.is_dir() and any(out.iterdir()) and not (out / CELLS_FOLDER).is_dir() and not (out / LOCK_FILE).exists():
        raise BundleError(f"'{out}' holds something else than a comparison; choose another --out")
    if out.exists() and not out.is_dir():
        raise BundleError(f"'{out}' is a file; --out takes a folder")
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK_FILE).open("a") as file:
        lock(file, f"another comparison is writing to '{out}'; wait for it or choose another --out")
        yield


@contextmanager
def _told_how_far(outcomes: Mapping[Cell, Outcome]) -> Iterator[None]:
    """What is stopped says how many cells are done."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        finished = sum(outcome.status == "done" for outcome in outcomes.values())
        raise KeyboardInterrupt(
            f"interrupted; {finished} of {len(outcomes)} cells are done, and the same command resumes from here"
        ) from interrupt
