"""Cells side by side: in processes of this machine, or on a Ray cluster. A cell that dies takes no other one along."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from vtadl.compare.cells import Cell, failed, run_cell
from vtadl.compare.outcomes import Outcome, read_outcome, write_outcome
from vtadl.config import plugins
from vtadl.inference.ray_cluster import ray_cluster
from vtadl.terminal import SIGNALS
from vtadl.threads import use_threads

Note = Callable[[Cell, Outcome], object]


def run_side_by_side(
    cells: Sequence[Cell],
    out: Path,
    device: torch.device,
    workers: int,
    note: Note,
    *,
    starts: Callable[[Cell], bool] = lambda _: True,
) -> None:
    """Run each cell in a process of its own, ``workers`` at a time.

    A process for each costs some seconds and makes cells independent: one that the system kills is one failed row.

    Args:
        cells: in their order.
        out: the folder of the comparison.
        device: where; several processes share a GPU.
        workers: processes at a time.
        note: called with each cell that ends and what came of it.
        starts: asked of each cell when its turn comes; one that it refuses is passed over.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the cells that run have written checkpoints.
    """
    threads = max(torch.get_num_threads() // workers, 1)
    waiting, running = list(cells), dict[SpawnProcess, Cell]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cell = waiting.pop(0)
                if starts(cell):
                    running[_started(cell, out, device, threads)] = cell
            if running:  # waiting for nothing would never end
                wait([process.sentinel for process in running])
            for process in [process for process in running if not process.is_alive()]:
                process.join()
                cell = running.pop(process)
                note(cell, _result(cell, out, process))
    finally:
        _stop(list(running))


def run_on_ray(cells: Sequence[Cell], out: Path, device: torch.device, address: str, note: Note) -> None:
    """Run the cells as tasks of a Ray cluster whose nodes all see the images and ``out``.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: no cluster at the address.
    """
    with ray_cluster(address) as ray:
        # Ray starts a task again whose node dies: the cell then resumes from its checkpoint.
        task = ray.remote(num_cpus=1, num_gpus=int(device.type == "cuda"), max_retries=2)(_on_node)
        tasks = {task.remote(cell, out.resolve(), str(device), plugins.given()): cell for cell in cells}
        while tasks:
            (ready, *_), _ = ray.wait(list(tasks))
            cell = tasks.pop(ready)
            try:
                note(cell, ray.get(ready))
            except ray.exceptions.RayError as error:
                note(cell, _lost(cell, out, f"Ray could not run it: {type(error).__name__}"))


def _on_node(cell: Cell, out: Path, device: str, given: Sequence[str]) -> Outcome:
    use_threads(1)
    plugins.give(given)
    return run_cell(cell, out, torch.device(device))


def _started(cell: Cell, out: Path, device: torch.device, threads: int) -> SpawnProcess:
    arguments = (cell, out, str(device), threads, plugins.given())
    process = multiprocessing.get_context("spawn").Process(target=_in_process, args=arguments)
    # Ctrl-C in a terminal reaches all processes; this one passes it on when the other is ready for it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    return process


def _in_process(cell: Cell, out: Path, device: str, threads: int, given: Sequence[str]) -> None:
    if hasattr(os, "setsid"):
        os.setsid()
    for number in SIGNALS:  # a service manager sends SIGTERM to all processes
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    use_threads(threads)
    plugins.give(given)
    try:
        run_cell(cell, out, torch.device(device))
    except KeyboardInterrupt:
        os._exit(130)


def _die_with_parent() -> None:
    """End with the process that started this one, even if that was killed: a later one may run the same cell."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _result(cell: Cell, out: Path, process: SpawnProcess) -> Outcome:
    outcome = read_outcome(out / cell.place)
    if process.exitcode == 0 and outcome is not None:
        return outcome
    code = process.exitcode or 0
    how = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with code {code}"
    return _lost(cell, out, f"its process {how}")


def _lost(cell: Cell, out: Path, error: str) -> Outcome:
    outcome = failed(cell, error)
    write_outcome(out / cell.place, outcome)
    return outcome


def _stop(processes: Sequence[Any]) -> None:
    for process in processes:
        if process.is_alive():
            os.kill(process.pid, signal.SIGINT)
    for process in processes:
        process.join()
