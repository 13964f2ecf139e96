"""What a training lends to a detector's fit: its device, its images as batches, and optimiser steps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vtadl.config.schema import Config
from vtadl.data.cached_images import CachedImages
from vtadl.data.training_images import TrainingImages
from vtadl.models.protocol import Examples, Network, Pictured, Steps
from vtadl.progress import Progress, silent
from vtadl.runs.checkpoint import TrainingLog
from vtadl.training.distributed import ALONE, ProcessGroup
from vtadl.training.loop import optimise
from vtadl.training.schedule import plan


@dataclass(frozen=True, kw_only=True)
class TrainingSession:
    """One training, as `vtadl.models.protocol.Session` describes it."""

    config: Config
    device: torch.device
    group: ProcessGroup = ALONE
    """The processes that train together."""
    training_log: TrainingLog | None = None
    """Keeps log and checkpoints, and where to resume from; without it nothing is written."""
    observe: Callable[[Mapping[str, Any], Pictured | None], object] | None = None
    """Called with each line of the log and the detector to picture."""
    progress: Progress = silent

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.config.seed

    def batches(self, images: TrainingImages, size: tuple[int, int], title: str = "fitting") -> Iterator[Tensor]:
        """See `vtadl.models.protocol.Session.batches`."""
        with self.progress(title, len(images)) as advance:
            for images_B3HW in images.batches(size):
                yield images_B3HW.to(self.device)
                advance(len(images_B3HW))

    def repeated(self, images: TrainingImages, size: tuple[int, int]) -> Examples:
        """See `vtadl.models.protocol.Session.repeated`."""
        examples = CachedImages(images, size, progress=self.progress)
        examples.move_to(self.device)
        return examples

    def optimise(self, network: Network, examples: Examples, *, shown: Pictured | None = None) -> Steps:
        """See `vtadl.models.protocol.Session.optimise`."""
        observe = self.observe
        state = optimise(
            network,
            examples,
            self.config.training,
            self.seed,
            self.device,
            group=self.group,
            training_log=self.training_log,
            progress=self.progress,
            observe=None if observe is None else lambda line: observe(line, shown),
        )
        planned = plan(self.config.training, len(examples))
        return Steps(
            steps=state.step,
            epochs=round(state.step / planned.steps_per_epoch, 3),
            best_epoch=state.best_epoch,
            best_epoch_loss=state.best_loss,
            seconds=round(state.seconds, 3),
            images_per_second=round(planned.images_until(state.step) / max(state.seconds, 1e-9), 3),
        )
