"""What a detector is, and what a training lends it: the one protocol of all models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from vtadl.data.training_images import TrainingImages
from vtadl.losses.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What `Model.fit` says of itself, beside the tensors that it leaves in the detector."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen and how many steps there were: the same in equal trainings."""
    times: Mapping[str, float] = field(default_factory=dict)
    """Durations and rates, in seconds and images a second."""
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    """What learning more images later takes, and the detector does not hold; empty where it cannot."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What optimiser steps came to."""

    steps: int
    epochs: float
    best_epoch: int | None
    """Counted from 1, with the lowest mean training loss: a record, not what is kept."""
    best_epoch_loss: float | None
    seconds: float
    """In all, also before a training was cut off."""
    images_per_second: float


class Network(Protocol):
    """What `Session.optimise` trains by an objective; an ``nn.Module`` besides."""

    objective: Objective

    def terms(
        self, examples: Tensor, /, *, seed: int, step: int, samples: Sequence[int]
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        """The objective's terms on a batch.

        Args:
            examples: ``(B, ...)``, images or embeddings.
            seed: with ``step`` and each example's number in ``samples``, the key of that example's noise: the same
                whatever else is in the batch.
            step: counted from 0.
            samples: B numbers.

        Returns:
            Each term's mean over the batch, unweighted, by name; and the variance of the embeddings.
        """

    def compile_parts(self) -> None:
        """Let torch.compile work on the parts that are worth it."""


@runtime_checkable
class GraphableNetwork(Network, Protocol):
    """One whose steps are kernels that are deterministic on a GPU and that a CUDA graph can hold."""

    def draw(self, seed: int, step: int, samples: Sequence[int]) -> list[Tensor]:
        """The noise of a step, on the CPU."""

    def terms_under(self, examples: Tensor, noise: Sequence[Tensor], /) -> tuple[Mapping[str, Tensor], Tensor]:
        """`Network.terms` with the noise of `draw`, on any device: a function of tensors alone."""


class Examples(Protocol):
    """What a network is trained on: images or embeddings, in any order, as often as one likes."""

    def __len__(self) -> int: ...

    def batches(self, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """The examples of these indices, ``(B, ...)`` a batch."""


class Pictured(Protocol):
    """A detector that can be shown while it is trained."""

    input_size: tuple[int, int]

    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        """As `Model.anomaly_map`."""

    def reconstruct(self, images_B3HW: Tensor) -> Tensor | None:
        """The images as the network sees them, ``(B, 3, H, W)``; ``None``: its objective reconstructs nothing."""


class Session(Protocol):
    """What a training lends to `Model.fit`: where it runs, how its images come, and optimiser steps."""

    @property
    def seed(self) -> int:
        """Of everything random."""

    @property
    def device(self) -> torch.device:
        """Where the detector is."""

    def batches(self, images: TrainingImages, size: tuple[int, int], title: str = "fitting") -> Iterator[Tensor]:
        """All images in their order, ``(B, 3, *size)`` in [0, 1] on the device at a time; progress is shown."""

    def repeated(self, images: TrainingImages, size: tuple[int, int]) -> Examples:
        """The images for many epochs, decoded once where memory holds them; on the device if it is a GPU."""

    def optimise(self, network: Network, examples: Examples, *, shown: Pictured | None = None) -> Steps:
        """Train a network in place, with log, checkpoints and resuming where the training has a folder.

        Args:
            network: on the device; afterwards its weights are those of the last step.
            examples: to train on.
            shown: the detector that the network is part of, for pictures.

        Raises:
            TrainingError: a loss or gradient is not finite, the embeddings collapsed, or the disk is full.
            TrainingInterrupted: Ctrl-C; a checkpoint of the step was written first.
        """


@runtime_checkable
class Teachable(Protocol):
    """A detector that can learn more good images without the earlier ones."""

    def teach(self, images: TrainingImages, session: Session, learned: Mapping[str, Tensor]) -> Fitted:
        """Learn more good images, as if `Model.fit` had had them too.

        Args:
            images: none of which it has learned.
            session: of the training.
            learned: what the last `fit` or `teach` gave.
        """


@runtime_checkable
class Model(Protocol):
    """What training, prediction, evaluation and export ask of a model; an ``nn.Module`` besides."""

    input_size: tuple[int, int]
    """Height and width in pixels of the images that it takes."""

    def fit(self, images: TrainingImages, session: Session) -> Fitted:
        """Learn from good images alone.

        Args:
            images: in the order of their content; one at least.
            session: of the training.
        """

    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        """How abnormal each pixel is.

        Args:
            images_B3HW: ``(B, 3, H, W)`` in [0, 1], of the size that the model takes.

        Returns:
            ``(B, H, W)``, smoothed, any range: higher is more abnormal.
        """
