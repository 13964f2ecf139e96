"""What every test shares: one thread per process, and the folder of real images where there is one."""

import os
from pathlib import Path

import vtadl  # noqa: F401  # isort: skip  # before torch is loaded: it says how OpenMP's threads wait

import numpy as np
import pytest
import torch
from hypothesis import settings

from helpers.exports import GraphsBuiltOnce

# How long an example takes depends on what else the machine does; a test whose time counts says so itself.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by VTADL_DATA (default: ../shared beside the project); the test is skipped without it."""
    folder = Path(os.environ.get("VTADL_DATA", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real images: {folder / 'data'} is missing; set VTADL_DATA to their folder")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    # Results must not depend on how many cores the test machine has, and two workers share them.
    torch.set_num_threads(1)
    os.environ["VTADL_THREADS"] = "1"  # for commands too, in this process and in others


class Golden:
    """Compares an array with the one in tests/golden; ``VTADL_REWRITE_GOLDEN=1`` writes it again, for a reason."""

    folder = Path(__file__).parent / "golden"

    def __call__(self, name: str, value: np.ndarray, *, tolerance: float) -> None:
        """Assert ``max |value - golden| <= tolerance * max |golden|``."""
        path = self.folder / f"{name}.npy"
        if os.environ.get("VTADL_REWRITE_GOLDEN"):
            np.save(path, value)
        golden = np.load(path, allow_pickle=False)
        assert value.shape == golden.shape
        assert np.abs(value - golden).max() <= tolerance * np.abs(golden).max()


@pytest.fixture(scope="session")
def golden() -> Golden:
    """See `Golden`."""
    return Golden()


@pytest.fixture(scope="session", autouse=True)
def quick_exports():
    """Exports of one run share a graph, and are timed once: all that takes time in them is done, but not again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vtadl.export.export.build_graph", GraphsBuiltOnce())
        patch.setattr("vtadl.export.export.TIMED", 1)
        yield
