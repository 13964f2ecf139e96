"""Train preset ``context``: embed once, fit the training-free densities, train the transformer, combine."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.checkpoint import Journal, TrainingState
from vtadl.combining import combine
from vtadl.config import Config
from vtadl.data.embeddings import RepeatedEmbeddings
from vtadl.data.loading import load_images
from vtadl.data.regions_of_interest import blanked
from vtadl.models.build import build_model
from vtadl.models.context import ContextDetector, Fitting
from vtadl.models.detector import TrainedDetector
from vtadl.optimization import Observe, optimise
from vtadl.parallel import Team
from vtadl.progress import Progress

EMBED_BATCH = 8
JUDGING_SHARE = 8
"""One image in so many judges the parts and teaches none of them."""


@dataclass(frozen=True, kw_only=True)
class TrainedInContext:
    """What the training came to."""

    model: ContextDetector
    state: TrainingState
    combination: dict[str, Any]
    """Weights of the parts and why (`vtadl.combining.combine`); empty in a process that does not lead."""
    seconds: float


def train_in_context(
    config: Config,
    paths: Sequence[Path],
    looked_at: NDArray[np.bool_] | None,
    device: torch.device,
    *,
    team: Team,
    journal: Journal | None,
    progress: Progress,
    observe: Observe | None,
) -> TrainedInContext:
    """Train on good images; torch's generator decides the first weights.

    All but the steps is the same each time, so a training that goes on after a kill does it again.

    Args:
        config: its model is a `ContextConfig`.
        paths: good images, in an order that their content decides.
        looked_at: region of interest.
        device: where.
        team: the processes that train together.
        journal: keeps log and checkpoints.
        progress: shows how far it is.
        observe: called with each line of the log.
    """
    started = time.perf_counter()
    model = build_model(config).to(device)
    assert isinstance(model, ContextDetector)
    learning, judging = _shared_out(paths)
    fitting = Fitting(model, len(learning), config.seed)
    embeddings = _embedded(model, learning, looked_at, device, progress)
    embedded = RepeatedEmbeddings(map(fitting.add, embeddings), len(learning))
    fitting.finish()
    # What the steps train is the network alone; it is embeddings that it sees.
    state = optimise(
        TrainedDetector(model.network, model.objective, smoothing=0.0),
        embedded,
        config.training,
        config.seed,
        device,
        team=team,
        journal=journal,
        progress=progress,
        observe=observe,
    )
    model.network.eval()
    everything = [
        range(start, min(start + EMBED_BATCH, len(learning))) for start in range(0, len(learning), EMBED_BATCH)
    ]
    model.network.fit_residual(batch.to(device) for batch in embedded.batches(everything))
    combination: dict[str, Any] = {}
    if team.leads:
        model.eval()
        combination = combine(model, judging, looked_at, device, config.seed, progress)
        if set(judging).isdisjoint(learning):
            fitting.add_to_gaussian(_embedded(model, judging, looked_at, device, progress))
    return TrainedInContext(model=model, state=state, combination=combination, seconds=time.perf_counter() - started)


def _shared_out(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images to learn from, and to judge by; of very few, all do both."""
    if len(paths) < JUDGING_SHARE:
        return list(paths), list(paths)
    judging = list(paths[::JUDGING_SHARE])
    return [path for number, path in enumerate(paths) if number % JUDGING_SHARE], judging


def _embedded(
    model: ContextDetector,
    paths: Sequence[Path],
    looked_at: NDArray[np.bool_] | None,
    device: torch.device,
    progress: Progress,
) -> Iterator[Tensor]:
    side = model.config.image_size
    with progress("embedding", len(paths)) as advance:
        for batch in load_images(paths, (side, side), batch_size=EMBED_BATCH):
            yield model.embed(blanked(batch.images, looked_at).to(device))
            advance(len(batch.indices))
