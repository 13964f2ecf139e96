"""How many threads compute, and how they wait. Nothing here loads torch: OpenMP reads its environment as it loads.

Threads that spin while they wait take time from every other process: beside two busy ones, a training then costs more
than twice its processor time. A container that may use 2 of 64 cores would start 64 threads without being told.
"""

import math
import os
import sys
from pathlib import Path

from vtadl.errors import ConfigError

VARIABLE = "VTADL_THREADS"
CGROUPS = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user has set how they wait; before torch is loaded."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def use_threads(threads: int | None = None) -> None:
    """Set how many threads this process, and those that it starts, compute with.

    Args:
        threads: how many; ``None``: as `thread_count` says. Then a torch that is loaded already keeps its own number
            where ``VTADL_THREADS`` is not set, since whoever loaded it may have chosen that.

    Raises:
        ConfigError: ``VTADL_THREADS`` is no whole number from 1 on.
    """
    if threads is not None:
        os.environ[VARIABLE] = str(threads)
    count, torch = thread_count(), sys.modules.get("torch")
    if VARIABLE in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(count)
        if torch is not None:
            torch.set_num_threads(count)
    elif torch is None:
        os.environ.setdefault("OMP_NUM_THREADS", str(count))


def _compute_alone() -> None:
    """In a process that was forked: one thread, where torch may have started others that the fork left behind.

    OpenMP would wait for them for ever. Loading a run starts them, and so does whatever else computes with torch.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):  # else another thread was importing it
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_alone)


def thread_count() -> int:
    """How many threads to compute with: what VTADL_THREADS says, else OMP_NUM_THREADS, else what the process may use.

    Raises:
        ConfigError: ``VTADL_THREADS`` is no whole number from 1 on.
    """
    asked = os.environ.get(VARIABLE)
    if asked is not None:
        if not asked.isdecimal() or int(asked) < 1:
            raise ConfigError(f"{VARIABLE} is '{asked}'; expected a whole number from 1 on")
        return int(asked)
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # one number a level of nesting
    return int(first) if first.isdecimal() and int(first) >= 1 else usable_cores()


def usable_cores() -> int:
    """The cores that this process may run on, or fewer where its cgroup's quota is less, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(CGROUPS, MOUNT)
    return cores if quota is None else max(min(cores, math.ceil(quota)), 1)


def cpu_quota(cgroups: Path, mount: Path) -> float | None:
    """How many cores' time a process gets at most: the least quota of its cgroups and those around them.

    Args:
        cgroups: the process's ``/proc/PID/cgroup``.
        mount: where cgroups are mounted, of version 1, 2 or both.

    Returns:
        Cores, or ``None`` without a quota.
    """
    lines = [line.split(":", 2) for line in _words(cgroups, "\n")]
    quotas: list[float] = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        # A container's path may be the one outside it, which it does not see: its own files are at the root then.
        folders = [Path(path.lstrip("/")), *Path(path.lstrip("/")).parents]
        if not controllers:
            quotas += [quota for folder in folders for quota in _quota(_words(mount / folder / "cpu.max"))]
        elif "cpu" in controllers.split(","):
            for place in {mount / "cpu", mount / controllers}:
                for folder in folders:
                    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                    quotas += _quota([word for name in names for word in _words(place / folder / name)])
    return min(quotas, default=None)


def _quota(words: list[str]) -> list[float]:
    """Microseconds in each period, and the period; without a limit the first is ``max`` or negative."""
    if len(words) != 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
        return []
    return [int(words[0]) / int(words[1])]


def _words(file: Path, separator: str | None = None) -> list[str]:
    """What stands in a file that may be missing or forbidden."""
    try:
        return file.read_text(encoding="utf-8").split(separator)
    except (OSError, UnicodeDecodeError):
        return []
