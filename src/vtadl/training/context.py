"""Train preset ``context``.

Find the poses and exposures that parts come in, embed once, fit the training-free densities, train the transformer,
combine.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.config.schema import Config
from vtadl.data.embeddings import RepeatedEmbeddings
from vtadl.data.loading import evenly_spread, fitting_batch, load_images
from vtadl.data.roi import blanked, mask_or_everything
from vtadl.data.synthetic_defects import planted_each
from vtadl.models.build import build_model
from vtadl.models.context import TEXTURES, WHERE, WHERE_WITHOUT_PLACE, ContextDetector, Fitting
from vtadl.models.detector import TrainedDetector
from vtadl.nn.poses import POSES, QUARTER_TURNS
from vtadl.progress import Progress
from vtadl.runs.checkpoint import Journal, TrainingState
from vtadl.training.combining import combine
from vtadl.training.distributed import Team
from vtadl.training.exposure import exposed, exposure_spread
from vtadl.training.loop import Observe, optimise
from vtadl.training.posing import chosen_poses
from vtadl.training.surfaces import MOST_MEASURED, scene_of

EMBED_BATCH = 8
JUDGING_SHARE = 8
"""One image in so many judges the parts and teaches none of them."""
MOST_PLANTED = 64
"""Images of a surface in which defects are planted for the discriminant to learn from, at most."""


@dataclass(frozen=True, kw_only=True)
class TrainedInContext:
    """What the training came to."""

    model: ContextDetector
    state: TrainingState
    record: dict[str, Any]
    """What was chosen and why: whether images show a part or a surface (`vtadl.training.surfaces.Scene`), the poses
    (`vtadl.training.posing.chosen_poses`), how exposures vary (`vtadl.training.exposure.exposure_spread`) and, in the
    process that leads, which parts count (`vtadl.training.combining.combine`)."""
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
    poses, told_apart = chosen_poses(model, learning, judging, looked_at, device, progress)
    spread = exposure_spread(model.config, learning, model.input_size, looked_at, progress)

    shown = _Shown(model.input_size, poses, spread, looked_at, device, progress)
    count = shown.count(len(learning))
    fitting = Fitting(model, count, config.seed)
    embedded = RepeatedEmbeddings(map(fitting.add, shown.images(learning)), count)
    (some,) = embedded.batches([evenly_spread(range(count), MOST_MEASURED)])
    scene = scene_of(some, looked_at)
    # What is missing from a part or out of place resembles nothing that could be planted: a discriminant would call it
    # good, and a part's edges scratches. What lies anyhow may still be one.
    is_surface = scene.is_surface and not set(QUARTER_TURNS) <= set(poses)
    if is_surface:
        for kind, images, masks in shown.planted(evenly_spread(learning, MOST_PLANTED), config.seed):
            fitting.add_planted(kind, images, masks)
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
    everything = [range(start, min(start + EMBED_BATCH, count)) for start in range(0, count, EMBED_BATCH)]
    model.network.fit_residual(batch.to(device) for batch in embedded.batches(everything))
    record: dict[str, Any] = {
        **{name: round(value, 3) for name, value in asdict(scene).items()},
        "poses": poses,
        "poses_told_apart": told_apart,
        "exposure_spread": spread,
    }
    if team.leads:
        model.eval()
        where = WHERE if is_surface or scene.place_tells else WHERE_WITHOUT_PLACE
        record["combination"] = combine(model, judging, looked_at, device, config.seed, progress, where=where)
        if set(judging).isdisjoint(learning):
            for images in shown.images(judging):
                fitting.add(images)
            fitting.extend()
    return TrainedInContext(model=model, state=state, record=record, seconds=time.perf_counter() - started)


def _shared_out(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images to learn from, and to judge by; of very few, all do both."""
    if len(paths) < JUDGING_SHARE:
        return list(paths), list(paths)
    judging = list(paths[::JUDGING_SHARE])
    return [path for number, path in enumerate(paths) if number % JUDGING_SHARE], judging


@dataclass(frozen=True)
class _Shown:
    """How images are shown to what learns from them: as they are, in each pose, and some at another exposure."""

    size: tuple[int, int]
    poses: Sequence[str]
    spread: float
    looked_at: NDArray[np.bool_] | None
    device: torch.device
    progress: Progress

    def count(self, images: int) -> int:
        """How many come of so many images."""
        return images * (1 + len(self.poses)) + (-(-images // 2) if self.spread else 0)

    def images(self, paths: Sequence[Path]) -> Iterator[Tensor]:
        """All of them, ``(B, 3, *size)`` at a time."""
        with self.progress("embedding", len(paths)) as advance:
            for batch in load_images(paths, self.size, batch_size=fitting_batch(self.size, EMBED_BATCH)):
                copies = [batch.images, *(POSES[pose](batch.images) for pose in self.poses)]
                if self.spread:
                    copies.append(exposed(batch.images, batch.indices, self.spread))
                for images in filter(len, copies):
                    yield blanked(images, self.looked_at).to(self.device)
                advance(len(batch.indices))

    def planted(self, paths: Sequence[Path], seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each image with a defect of each of `TEXTURES`: the kind, ``(1, 3, *size)``, and where, ``(1, *size)``."""
        inside_HW = mask_or_everything(self.looked_at, self.size)
        with self.progress("planting", len(paths)) as advance:
            for batch in load_images(paths, self.size, batch_size=1):
                image_3HW = blanked(batch.images, self.looked_at)[0].numpy()
                for kind, *planted in planted_each(image_3HW, TEXTURES, inside_HW, (seed, batch.indices[0])):
                    changed_13HW, mask_1HW = (torch.from_numpy(array)[None].to(self.device) for array in planted)
                    yield kind, changed_13HW, mask_1HW
                advance(1)
