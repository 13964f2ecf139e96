"""Spread an inspection over a Ray cluster: tasks score and write pictures, one process writes the rows."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from vtadl.config import plugins
from vtadl.errors import BundleError
from vtadl.inference.batch import Options, Row, Sink, error_row, inspect_into
from vtadl.inference.predictions_file import Identity, identity_of
from vtadl.inference.ray_cluster import ray_cluster
from vtadl.progress import Advance
from vtadl.runs.record import RECORD_FILE
from vtadl.runs.run import Run, load_run
from vtadl.threads import use_threads

IMAGES_IN_TASK = 64
TASKS_A_CPU = 3
"""Tasks under way for each processor of the cluster: enough to keep it busy, few enough to bound what is in memory."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Takes the rows of one task, which go back to the process that writes them."""

    folder: Path
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row."""
        self.rows.append(dict(row))


def spread_over_ray(
    address: str,
    run_folder: Path,
    device: torch.device,
    options: Options,
    predictions: Sink,
    paths: Sequence[Path],
    names: Mapping[Path, Path],
    advance: Advance,
) -> None:
    """Score files on a cluster whose nodes all see the run, the images and the output under the same paths.

    At ``auto`` is the cluster that runs here; ``local`` starts one. Each process of it loads the run once.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: no cluster at the address.
        BundleError: the cluster lost a task; the rows so far are written, so that the same call resumes.
    """
    parts = [list(paths[i : i + IMAGES_IN_TASK]) for i in range(0, len(paths), IMAGES_IN_TASK)]
    with ray_cluster(address) as ray:
        # Ray starts a task again whose node dies; what the first one wrote is written over.
        task = ray.remote(num_cpus=1, num_gpus=int(device.type == "cuda"), max_retries=2)(_score)
        most = TASKS_A_CPU * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        fixed = (run_folder.resolve(), predictions.folder.resolve(), options, str(device), plugins.given())
        waiting, running = deque(parts), deque[Any]()
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    part = waiting.popleft()
                    here = [(path, path.absolute(), names[path]) for path in part]
                    running.append(task.remote(here, *fixed))
                for row in ray.get(running.popleft()):
                    predictions.add(row)
                    advance(1)
        except ray.exceptions.RayTaskError as error:
            raise BundleError(f"a task failed: {error.cause}; give the same command to resume") from error
        except ray.exceptions.RayError as error:
            raise BundleError(f"Ray lost a task: {type(error).__name__}; give the same command to resume") from error


def _score(
    files: Sequence[tuple[Path, Path, Path]],
    run_folder: Path,
    out: Path,
    options: Options,
    device: str,
    given: Sequence[str],
) -> list[Row]:
    """The rows of files, each given as it is called, where it is, and the name of its pictures."""
    use_threads(1)
    plugins.give(given)
    called = {str(place): str(path) for path, place, _ in files}
    found = Rows(folder=out)
    inspect_into(
        found,
        _loaded(run_folder, identity_of(run_folder / RECORD_FILE)),
        [place for _, place, _ in files],
        {place: name for _, place, name in files},
        torch.device(device),
        options,
        on_error=error_row,
    )
    return [{**row, "file": called[row["file"]]} for row in found.rows]


@lru_cache(maxsize=1)
def _loaded(run_folder: Path, _: Identity) -> Run:
    """By the record's identity too: another run may have taken the folder's place."""
    return load_run(run_folder)
