"""What ``import vtadl`` gives: train, load, predict, evaluate, save."""

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.calibration.calibrate import Request, calibrate
from vtadl.calibration.images import gather
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import DEFAULT_PRESET, preset_config
from vtadl.config.schema import Config
from vtadl.data.check import stop_on_problems
from vtadl.data.images import as_rgb, read_image
from vtadl.data.layouts import read_category
from vtadl.data.roi import read_region_of_interest
from vtadl.decision.card import Card
from vtadl.evaluation import Report, evaluate_run
from vtadl.inference.predict import Prediction, pick_device, predict_image
from vtadl.reports.card import write_card
from vtadl.runs.run import Run, load_run, save_run
from vtadl.training.train import train_run

PathLike = str | Path


__all__ = ["Detector", "Prediction", "Report", "evaluate", "load", "train"]


class Detector:
    """A trained detector. Make one with `vtadl.train` or `vtadl.load`."""

    def __init__(self, run: Run, device: str = "auto") -> None:
        self.run = run
        self.device = pick_device(device)

    @property
    def config(self) -> Config:
        """The settings it was trained with."""
        return self.run.config

    def predict(self, image: PathLike | NDArray[Any]) -> Prediction:
        """Score one image.

        Args:
            image: a file, or pixels ``(H, W, 3)`` or ``(H, W)``, uint8 or uint16.

        Raises:
            DataError: a file that cannot be read, or an array of another kind.
        """
        pixels = as_rgb(image) if isinstance(image, np.ndarray) else read_image(Path(image))
        return predict_image(self.run, pixels, self.device)

    def calibrate(
        self,
        *,
        false_reject_rate: float | None = None,
        threshold: float | None = None,
        review_rate: float | None = None,
        review_threshold: float | None = None,
        add_good: Iterable[PathLike] = (),
    ) -> Card:
        """Set the threshold of verdicts from good images that were held out of training, or came later.

        Args:
            false_reject_rate: share of good parts that may be judged defective; 0.05 without a ``threshold``.
            threshold: score above which a part is defective, by hand.
            review_rate: share of good parts that may be judged anything but good: makes a band for review.
            review_threshold: score above which a part is for review, by hand.
            add_good: folders of all good parts of a period, none of which was trained on.

        Returns:
            The decision card, which `predict` follows from now on and `save` stores.

        Raises:
            ConfigError: a rate or threshold that cannot be, or not with the others.
            DataError: the images cannot support the rate; the message says how many would.
        """
        request = Request(
            false_reject_rate=false_reject_rate,
            threshold=threshold,
            review_rate=review_rate,
            review_threshold=review_threshold,
        )
        folders = [Path(folder) for folder in add_good]
        sets = gather(self.run, self.device, add_good=folders, warn=lambda line: warnings.warn(line, stacklevel=4))
        self.run.card = calibrate(self.run, sets, request)
        return self.run.card

    def save(self, folder: PathLike, *, force: bool = False) -> None:
        """Write a run folder; it appears whole or not at all.

        Raises:
            BundleError: the folder exists already (and no ``force``), or cannot be written.
        """
        save_run(self.run, Path(folder), force=force)
        if self.run.card is not None:
            write_card(Path(folder), self.run.card)


def train(
    category: PathLike,
    *,
    preset: str = DEFAULT_PRESET,
    objective: str | None = None,
    settings: Iterable[str] = (),
    seed: int = 0,
    roi: PathLike | None = None,
    ignore: PathLike | None = None,
    device: str = "auto",
) -> Detector:
    """Train a detector on the good images of a category.

    Args:
        category: folder of one product, in any layout that `vtadl data check` knows.
        preset: a name from `vtadl presets`.
        objective: weighted sum of losses, such as ``mse + vae``, for presets that are trained.
        settings: ``section.key=value`` strings, as given to ``--set``.
        seed: of everything random.
        roi: what to look at in every image: a mask as PNG, or polygons in JSON.
        ignore: what to ignore, likewise.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: an unknown preset, setting, objective or device.
        DataError: images that cannot be used.
    """
    config = apply_settings(preset_config(preset, seed=seed, objective=objective), settings)
    files = (None if file is None else Path(file) for file in (roi, ignore))
    content = replace(read_category(Path(category)), roi_mask=read_region_of_interest(*files))
    stop_on_problems(content.train + content.validation)
    run = train_run(config, content, pick_device(device), warn=lambda line: warnings.warn(line, stacklevel=3))
    return Detector(run, device)


def load(folder: PathLike, device: str = "auto") -> Detector:
    """Read a run folder back.

    Raises:
        BundleError: no run, or an unfinished, damaged or newer one.
    """
    return Detector(load_run(Path(folder)), device)


def evaluate(detector: Detector, category: PathLike, *, resolution: int | None = None) -> Report:
    """Compute every metric of a detector on a category's test images.

    Args:
        detector: from `train` or `load`.
        category: folder of one product with test images.
        resolution: shorter side in pixels that metrics are computed at; ``None``: the masks' own.

    Raises:
        DataError: no test images, or files that cannot be used.
    """
    content = read_category(Path(category))
    stop_on_problems(content.test)
    return evaluate_run(detector.run, content, detector.device, resolution=resolution)
