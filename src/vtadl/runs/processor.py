"""What the processor that computes can do: which instructions torch chose, and which of those that matter it has."""

from pathlib import Path
from typing import Any

import torch

FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimd", "sve")
"""Instructions that libraries choose their arithmetic by: sums in another order, products joined or not."""
CPUINFO = Path("/proc/cpuinfo")


def processor(cpuinfo: Path = CPUINFO) -> dict[str, Any]:
    """The processor of this process.

    Args:
        cpuinfo: where Linux lists flags; elsewhere none are known.

    Returns:
        ``capability``, as torch calls what it computes with (DEFAULT, AVX2, AVX512, ...), and ``flags``, those of
        `FLAGS` that the processor has, whether or not torch may use them.
    """
    return {"capability": torch.backends.cpu.get_cpu_capability(), "flags": _flags(cpuinfo)}


def _flags(cpuinfo: Path) -> list[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    # "flags" on x86, "Features" on ARM; every core has a line, all the same.
    words = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [flag for flag in FLAGS if flag in words]
