"""Were VT-ADL's published numbers real, and what would repair it? Many trainings side by side; writes docs/study.md.

python benchmarks/study.py published --out runs/study --data ../shared/data --demo runs/demo --device cuda --workers 6
python benchmarks/study.py repair --out runs/study --data ../shared/data --demo runs/demo --device cuda --workers 9
python benchmarks/study.py baselines --out runs/study --data ../shared/data --demo runs/demo
python benchmarks/study.py collect --out runs/study [--context runs/context/comparison.json]
python benchmarks/study.py page

Each training writes one file of JSON: its metrics at some steps on the way and at the end, by this project's protocol
and by that of the published code, with every anomaly map that its network can give. Killed, the same command resumes
with the trainings that are not done. ``collect`` puts them into ``benchmarks/study_results.json``, and ``page`` writes
the tables of ``docs/study.md`` from that. On a CPU a training takes half an hour or more.
"""

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from drawn.dataset import make_demo
from loss_study.jobs import Job, published_jobs, repair_jobs
from loss_study.measure import TimeIsUpError, baseline, train
from loss_study.page import write_page
from loss_study.results import collect
from vtadl.data.layouts import read_category
from vtadl.runs.files import write_text

PARTS = ("published", "repair", "baselines", "collect", "page")
AGAIN_ELSEWHERE = 3
"""Exit code of a process whose GPU may be in a bad state: another one takes its place."""


def work(
    number: int,
    queues: tuple[Any, Any],
    folders: Mapping[str, Path],
    out: Path,
    device: str,
    deadline: float,
    threads: int,
    fastest: bool,
) -> None:
    """A process that takes one job after the other; what fails is tried once more, by a fresh process."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = fastest
    while (job := _next(*queues)) is not None and time.monotonic() < deadline:
        at = time.monotonic()
        trace = out / job.file.replace(".json", ".traceback.txt")
        try:
            train(job, folders[job.category], out, torch.device(device), deadline)
            note = "done"
        except TimeIsUpError:
            note = "stopped"
        except Exception as error:  # one training that fails leaves the others alone
            note, traceback_of = f"failed: {error}", traceback.format_exc()
        print(f"{number:>2} {time.monotonic() - at:6.1f} s {note}: {job.file}", flush=True)
        if note.startswith("failed"):
            first = not trace.exists()
            write_text(trace, traceback_of)
            if first:
                queues[1].put(job)
            sys.exit(AGAIN_ELSEWHERE)


def _next(todo: Any, again: Any) -> Job | None:
    try:
        job: Job | None = again.get(timeout=0.2)
    except Empty:
        job = todo.get()
    return job


def is_done(path: Path) -> bool:
    """Whether a training was measured to its end."""
    return path.exists() and bool(json.loads(path.read_text())["done"])


def main() -> None:
    """Start the processes and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="page", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds mvtec/transistor and bottle")
    parser.add_argument("--demo", type=Path, default=Path("runs/study/demo"), help="where fabric and flange are drawn")
    parser.add_argument("--context", type=Path, help="a comparison.json of the two losses on preset context")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which trainings stop")
    parser.add_argument("--short", action="store_true", help="a few steps of small networks, to try it")
    options = parser.parse_args()
    if options.part == "page":
        write_page()
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part == "collect":
        collect(options.out, options.context)
        write_page()
        return
    if not options.demo.exists():
        make_demo(options.demo)
    folders = {name: options.data / "mvtec" / name for name in ("transistor", "bottle")}
    folders["fabric"] = options.demo / "fabric"
    if options.part == "baselines":
        for name, folder in folders.items():
            for size in (64,) if options.short else (256, 512):
                found = baseline(read_category(folder), size)
                write_text(options.out / f"baseline-{name}-{size}.json", json.dumps(found, indent=1))
        return
    jobs = {"published": published_jobs, "repair": repair_jobs}[options.part](options.short)
    run(list(jobs), folders, options)


def run(jobs: Sequence[Job], folders: Mapping[str, Path], options: argparse.Namespace) -> None:
    """All jobs that are not done yet, in their order, by so many processes."""
    context = multiprocessing.get_context("spawn")
    todo, again = context.Queue(), context.Queue()
    for job in jobs:
        if not is_done(options.out / job.file):
            todo.put(job)
    for _ in range(3 * options.workers):  # for those that take another one's place, too
        todo.put(None)
    deadline = time.monotonic() + options.seconds

    def start(number: int, fastest: bool) -> Any:
        arguments = (number, (todo, again), folders, options.out, options.device, deadline, options.threads, fastest)
        process = context.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process

    # Trying out every algorithm of a convolution pays off in long trainings.
    running = {number: start(number, options.part == "published") for number in range(options.workers)}
    while running:
        wait([process.sentinel for process in running.values()])
        for number, process in list(running.items()):
            if not process.is_alive():
                del running[number]
                if process.exitcode not in (0, None) and time.monotonic() < deadline:
                    running[number] = start(number, fastest=False)


if __name__ == "__main__":
    main()
