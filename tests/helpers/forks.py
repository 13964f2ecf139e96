"""Processes that start in a moment: forks of one that has loaded torch, the commands and the server."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from vtadl.cli import main

PRELOADED = (
    *("vtadl.commands.train", "vtadl.commands.predict", "vtadl.commands.compare", "vtadl.commands.calibrate"),
    *("vtadl.commands.export", "vtadl.server.app", "vtadl.runtime", "onnxruntime", "uvicorn"),
    "torch._dynamo",  # the first optimiser of a process loads it
)


def context() -> ForkServerContext:
    """Of processes that are forked from one that has all of `PRELOADED`."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(PRELOADED))
    return found


def in_fork(function: Callable[..., Any], *arguments: object, said: Path | None = None) -> Any:
    """What a function returns in a process of its own, which may fork, kill and compute by itself.

    What it prints on either stream goes into the file ``said``.
    """
    with ProcessPoolExecutor(1, mp_context=context()) as pool:
        return pool.submit(_called, said, None, function, arguments).result()


def start_command(
    arguments: list[str], said: Path, *, encoding: str | None = None, daemon: bool = True
) -> ForkServerProcess:
    """Start ``vtadl``; what it prints on either stream goes into a file, in the encoding of a terminal.

    A daemon ends with the tests, but may not start processes of its own.
    """
    process = context().Process(target=_called, args=(said, encoding, _command, (arguments,)), daemon=daemon)
    process.start()
    return process


def run_command(arguments: list[str], said: Path, *, encoding: str | None = None) -> int:
    """The exit code of ``vtadl``."""
    process = start_command(arguments, said, encoding=encoding)
    process.join()
    return process.exitcode


def _called(said: Path | None, encoding: str | None, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    if said is not None:
        print_into(said, encoding)
    return function(*arguments)


def print_into(said: Path, encoding: str | None = None) -> None:
    """Let what this process prints on either stream go into a file."""
    output = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
        stream.reconfigure(encoding=encoding)


def _command(arguments: list[str]) -> None:
    sys.exit(main(arguments))


def fork(work: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Exit code; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
