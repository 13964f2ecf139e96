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
from vtadl.data.synthetic_defects import add_each_defect
from vtadl.models.build import build_model
from vtadl.models.context import LOCALIZATION, LOCALIZATION_WITHOUT_POSITION, TEXTURES, ContextDetector, Fitting
from vtadl.models.detector import TrainedDetector
from vtadl.nn.poses import POSES, QUARTER_TURNS
from vtadl.progress import Progress
from vtadl.runs.checkpoint import TrainingLog, TrainingState
from vtadl.training.combining import combine
from vtadl.training.distributed import ProcessGroup
from vtadl.training.exposure import exposed, exposure_spread
from vtadl.training.loop import Observe, optimise
from vtadl.training.posing import chosen_poses
from vtadl.training.surfaces import MOST_MEASURED, scene_of

EMBED_BATCH = 8
VALIDATION_SHARE = 8
"""One image in so many judges the parts and teaches none of them."""
MOST_SYNTHETIC = 64
"""Images of a surface in which defects are made for the discriminant to learn from, at most."""


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
    roi_mask: NDArray[np.bool_] | None,
    device: torch.device,
    *,
    group: ProcessGroup,
    training_log: TrainingLog | None,
    progress: Progress,
    observe: Observe | None,
) -> TrainedInContext:
    """Train on good images; torch's generator decides the first weights.

    All but the steps is the same each time, so a training that resumes after a kill does it again.

    Args:
        config: its model is a `ContextConfig`.
        paths: good images, in an order that their content decides.
        roi_mask: region of interest.
        device: where.
        group: the processes that train together.
        training_log: keeps log and checkpoints.
        progress: shows how far it is.
        observe: called with each line of the log.
    """
    started = time.perf_counter()
    model = build_model(config).to(device)
    assert isinstance(model, ContextDetector)
    learning, validation = _shared_out(paths)
    poses, told_apart = chosen_poses(model, learning, validation, roi_mask, device, progress)
    spread = exposure_spread(model.config, learning, model.input_size, roi_mask, progress)

    shown = _Shown(model.input_size, poses, spread, roi_mask, device, progress)
    count = shown.count(len(learning))
    fitting = Fitting(model, count, config.seed)
    embedded = RepeatedEmbeddings(map(fitting.add, shown.images(learning)), count)
    (some,) = embedded.batches([evenly_spread(range(count), MOST_MEASURED)])
    scene = scene_of(some, roi_mask)
    # What is missing from a part or out of place resembles nothing that could be synthesised: a discriminant would call
    # it good, and a part's edges scratches. What lies anyhow may still be one.
    is_surface = scene.is_surface and not set(QUARTER_TURNS) <= set(poses)
    if is_surface:
        for kind, images, masks in shown.synthetic(evenly_spread(learning, MOST_SYNTHETIC), config.seed):
            fitting.add_synthetic(kind, images, masks)
    fitting.finish()
    # What the steps train is the network alone; it is embeddings that it sees.
    state = optimise(
        TrainedDetector(model.network, model.objective, smoothing=0.0),
        embedded,
        config.training,
        config.seed,
        device,
        group=group,
        training_log=training_log,
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
    if group.is_main:
        model.eval()
        where = LOCALIZATION if is_surface or scene.place_tells else LOCALIZATION_WITHOUT_POSITION
        record["combination"] = combine(model, validation, roi_mask, device, config.seed, progress, where=where)
        if set(validation).isdisjoint(learning):
            for images in shown.images(validation):
                fitting.add(images)
            fitting.extend()
    return TrainedInContext(model=model, state=state, record=record, seconds=time.perf_counter() - started)


def _shared_out(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images to learn from, and to judge by; of very few, all do both."""
    if len(paths) < VALIDATION_SHARE:
        return list(paths), list(paths)
    validation = list(paths[::VALIDATION_SHARE])
    return [path for number, path in enumerate(paths) if number % VALIDATION_SHARE], validation


@dataclass(frozen=True)
class _Shown:
    """How images are shown to what learns from them: as they are, in each pose, and some at another exposure."""

    size: tuple[int, int]
    poses: Sequence[str]
    spread: float
    roi_mask: NDArray[np.bool_] | None
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
                    yield blanked(images, self.roi_mask).to(self.device)
                advance(len(batch.indices))

    def synthetic(self, paths: Sequence[Path], seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each image with a defect of each of `TEXTURES`: the kind, ``(1, 3, *size)``, and where, ``(1, *size)``."""
        inside_HW = mask_or_everything(self.roi_mask, self.size)
        with self.progress("making defects", len(paths)) as advance:
            for batch in load_images(paths, self.size, batch_size=1):
                image_3HW = blanked(batch.images, self.roi_mask)[0].numpy()
                for kind, *synthetic in add_each_defect(image_3HW, TEXTURES, inside_HW, (seed, batch.indices[0])):
                    changed_13HW, mask_1HW = (torch.from_numpy(array)[None].to(self.device) for array in synthetic)
                    yield kind, changed_13HW, mask_1HW
                advance(1)
