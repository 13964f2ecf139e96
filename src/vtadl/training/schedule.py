"""Which step sees which images, at what learning rate: pure functions, so a training that resumes needs no state."""

import math
from dataclasses import dataclass

import numpy as np

from vtadl.config.schema import TrainingConfig

MOST_LOG_LINES = 20_000
"""Longer trainings log every second, third, ... step: a log of some megabytes is still easy to read and plot."""
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4
"""Share of the steps with rising rate; first rate as share of the highest, last as share of the first (Smith 2018)."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many steps there are, and which belong to which epoch."""

    images: int
    batch_size: int
    steps: int

    @property
    def steps_per_epoch(self) -> int:
        """The last batch of an epoch may be smaller; no image is left out."""
        return math.ceil(self.images / self.batch_size)

    @property
    def log_every(self) -> int:
        """Steps a line of the log."""
        return math.ceil(self.steps / MOST_LOG_LINES)

    def images_until(self, step: int) -> int:
        """Images used in the first ``step`` steps."""
        epochs, position = divmod(step, self.steps_per_epoch)
        return epochs * self.images + min(position * self.batch_size, self.images)


def plan(training: TrainingConfig, images: int) -> Plan:
    """What the settings ask for; ``steps`` wins over ``epochs``."""
    epoch = math.ceil(images / training.batch_size)
    steps = training.steps if training.steps is not None else training.epochs * epoch
    return Plan(images=images, batch_size=training.batch_size, steps=steps)


def learning_rate(training: TrainingConfig, step: int, steps: int) -> float:
    """The rate of one step, counted from 0 of ``steps``; a pure function, so that resuming needs no state.

    Source of ``one-cycle``: L. Smith and N. Topin, Super-Convergence, 2018; the momentum stays as it is.
    """
    highest = training.learning_rate
    match training.schedule:
        case "constant":
            return highest
        case "cosine":
            return _cosine(highest, 0.0, step / steps)
        case "one-cycle":
            first = highest * ONE_CYCLE_START
            top, last = ONE_CYCLE_RISE * steps - 1, steps - 1
            if step <= top:
                return _cosine(first, highest, step / top)
            return _cosine(highest, first * ONE_CYCLE_END, (step - top) / (last - top))


def sample_order(seed: int, epoch: int, images: int) -> list[int]:
    """The order of the images in an epoch, counted from 0."""
    return [int(index) for index in np.random.default_rng((seed, epoch)).permutation(images)]


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
