"""How long the cells of a comparison will take, from two steps of each kind, and how long is left."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from vtadl.compare.cells import Cell
from vtadl.config.schema import Config
from vtadl.data.training_images import good_images
from vtadl.errors import VtadlError, warn_caller
from vtadl.models.build import build_model
from vtadl.progress import duration
from vtadl.training.schedule import plan
from vtadl.training.session import TrainingSession

MOST_IMAGES = 32
"""That a kind is measured on."""
SCORED = 2
LONG_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a kind of cell takes, in seconds."""

    step: float
    """An optimiser step; 0 of what is fitted without."""
    fitted_image: float
    """What else a training image takes: to decode, embed and fit."""
    scored_image: float

    def cell(self, cell: Cell) -> float:
        """The whole training and evaluation of a cell, less its metrics."""
        good, tested = len(cell.category.train), len(cell.category.test)
        steps = plan(cell.config.training, good).steps if cell.config.objective is not None else 0
        return steps * self.step + good * self.fitted_image + (good + tested) * self.scored_image


class Forecast:
    """The time that cells will take; what those that end really took corrects it for the others."""

    def __init__(self, todo: Sequence[Cell], device: torch.device, workers: int) -> None:
        self.workers = min(workers, max(len(todo), 1))
        rates: dict[Config, Rates | None] = {}
        for cell in todo:
            kind = _kind(cell.config)
            if kind not in rates:
                rates[kind] = _measured(kind, cell, device)
        self.seconds: dict[Cell, float | None] = {}
        for cell in todo:
            of_kind = rates[_kind(cell.config)]
            self.seconds[cell] = None if of_kind is None else of_kind.cell(cell)
        self.kinds = len(rates)
        self.left = list(todo)
        self.started = time.monotonic()

    @property
    def total(self) -> float | None:
        """Seconds of all of them; ``None`` where a kind of them cannot be measured."""
        return _total(self.seconds, self.seconds, self.workers)

    def line(self, done: int) -> str:
        """What is to come, said before the first cell begins; above an hour a warning as well."""
        cells = f"{len(self.seconds)} cells" if len(self.seconds) != 1 else "1 cell"
        count = f"{cells} to do" + (f", {done} done already" if done else "")
        total = self.total
        if total is None:
            return f"{count}; how long they take is not known"
        if total > LONG_SECONDS:
            warn_caller(
                f"this comparison takes about {duration(total)}; it can be stopped and resumed, and --set "
                "training.steps=N or another --preset makes it shorter"
            )
        return f"{count}, about {duration(total)} without the metrics (by two steps of each kind: {self.kinds})"

    def after(self, cell: Cell) -> str:
        """What is left when a cell has ended; empty after the last."""
        self.left.remove(cell)
        if not self.left:
            return ""
        count, passed = len(self.seconds) - len(self.left), time.monotonic() - self.started
        expected = _total(self.seconds, [one for one in self.seconds if one not in self.left], self.workers)
        to_come = _total(self.seconds, self.left, self.workers)
        if not expected or to_come is None:  # nothing was foreseen: the others are like those that ended
            expected, to_come = float(count), float(len(self.left))
        left = passed * to_come / expected
        return f"{count} of {len(self.seconds)} cells, about {duration(left)} left"


def _total(
    seconds: Mapping[Cell, float | None], cells: Sequence[Cell] | Mapping[Cell, object], workers: int
) -> float | None:
    known = [value for cell in cells if (value := seconds[cell]) is not None]
    return sum(known) / workers if len(known) == len(cells) else None


def _kind(config: Config) -> Config:
    """What cells have in common that take the same time an image and a step."""
    return dataclasses.replace(config, seed=0)


def _measured(kind: Config, cell: Cell, device: torch.device) -> Rates | None:
    """Fit a few images of the category in two steps; ``None`` where that fails, as the cell itself then will."""
    training = dataclasses.replace(kind.training, steps=2, epochs=1, compile="never")
    stamps: list[float] = []
    session = TrainingSession(
        config=dataclasses.replace(kind, training=training),
        device=device,
        observe=lambda *_: stamps.append(time.perf_counter()),
    )
    try:
        kept = good_images(cell.category).kept
        some = kept.sample(min(max(training.batch_size, SCORED), MOST_IMAGES))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_model(session.config).to(device)
            started = time.perf_counter()
            model.fit(some, session)
        fitted = time.perf_counter()
        model.eval()
        for images_B3HW in some[:SCORED].batches(model.input_size):
            model.anomaly_map(images_B3HW.to(device)).cpu()
        scored = time.perf_counter() - fitted
    except VtadlError:
        return None
    step = stamps[1] - stamps[0] if len(stamps) > 1 else 0.0
    whole = min(training.batch_size, len(kept)) / min(training.batch_size, len(some))
    return Rates(
        step=step * whole,
        fitted_image=max(fitted - started - len(stamps) * step, 0.0) / len(some),
        scored_image=scored / len(some[:SCORED]),
    )
