"""What ``import vtadl`` gives: train, load, predict, teach, evaluate, save."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

from numpy.typing import NDArray

from vtadl.backbones.plugged import Backbone
from vtadl.calibration.calibrate import Request, calibrate, lowest_asked
from vtadl.calibration.cross_fit import cross_fitted, need_of_cross_fit
from vtadl.calibration.images import gather
from vtadl.calibration.teaching import Teaching
from vtadl.calibration.teaching import teach as teach_run
from vtadl.config.aliases import preset_name
from vtadl.config.overrides import with_values
from vtadl.config.plugins import named
from vtadl.config.presets import DEFAULT_PRESET, preset_config
from vtadl.config.schema import Config
from vtadl.data.images import pixels_of
from vtadl.data.integrity import empty_classes, stop_on_problems
from vtadl.data.layouts import find_images, read_category
from vtadl.data.roi import read_region_of_interest
from vtadl.data.value_range import in_range
from vtadl.decision.card import Card
from vtadl.density.plugged import Density
from vtadl.errors import ConfigError, warn_caller
from vtadl.evaluation import Report, evaluate_run
from vtadl.inference.batch import picture
from vtadl.inference.predict import Prediction, pick_device, predict_files, predict_image, warn_of_unlike
from vtadl.losses.plugged import Loss, expression_of
from vtadl.progress import silent
from vtadl.reports.card import write_card
from vtadl.runs.origin import note_category
from vtadl.runs.run import Run, load_run, save_run
from vtadl.runs.unseen import unseen_by
from vtadl.training.train import train_run

PathLike = str | Path


__all__ = [
    "Backbone",
    "Config",
    "Density",
    "Detector",
    "Loss",
    "Prediction",
    "Report",
    "Teaching",
    "evaluate",
    "load",
    "teach",
    "train",
]


class Thresholds(TypedDict, total=False):
    """What `Detector.calibrate` takes; at most one of the first four decides."""

    false_reject_rate: float | None
    """Share of good parts that may be judged defective."""
    threshold: float | None
    """Score above which a part is defective, by hand."""
    miss_rate: float | None
    """Share of defects like the labelled ones that may pass."""
    miss_cost: float | None
    """Cost of a missed defect, in rejected good parts."""
    defect_share: float
    """Defective share of the line's parts, for ``miss_cost``; 0.01 unless given."""
    review_rate: float | None
    """Share of good parts that may be judged anything but good: makes a band for review."""
    review_threshold: float | None
    """Score above which a part is for review, by hand."""
    outline_rate: float | None
    """Share of good parts that may have any outline; as verdicts unless given."""


class Detector:
    """A trained detector. Make one with `vtadl.train` or `vtadl.load`."""

    def __init__(self, run: Run, device: str = "auto") -> None:
        self.run = run
        self.device = pick_device(device)
        self._told: set[str] = set()

    def __repr__(self) -> str:
        """Preset, category, size of its images and threshold."""
        height, width = self.run.input_size
        threshold = "not calibrated" if self.run.card is None else f"threshold {self.run.card.threshold:.6g}"
        return f"<vtadl.Detector {self.config.preset} of {self.run.source.category}, {width} x {height}, {threshold}>"

    @property
    def config(self) -> Config:
        """The settings it was trained with."""
        return self.run.config

    @overload
    def predict(self, image: Sequence[Any]) -> list[Prediction]: ...

    @overload
    def predict(self, image: Any) -> Prediction: ...

    def predict(self, image: Any) -> Prediction | list[Prediction]:
        """Score one image, or each of a list.

        Args:
            image: a file; pixels ``(H, W, 3)``, ``(H, W)`` or ``(H, W, 1)``, uint8 or uint16; a Pillow image; the bytes
                of an image file, or such a file opened in binary mode; or a list of any of these.

        Returns:
            The prediction; of a list a list.

        Raises:
            DataError: a file that cannot be read, or something else.
            ConfigError: the process was forked from one that computed with threads.
        """
        if isinstance(image, list | tuple):
            return [self._predicted(pixels_of(one)) for one in image]
        return self._predicted(pixels_of(image))

    def _predicted(self, pixels: NDArray[Any]) -> Prediction:
        prediction = predict_image(self.run, pixels, self.device)
        warn_of_unlike(self.run, "the image", in_range(pixels, self.config.data.pair), self._told, warn_caller)
        return replace(prediction, picture=partial(picture, self.run, pixels, prediction))

    def predict_folder(self, folder: PathLike) -> Iterator[tuple[Path, Prediction]]:
        """Score the images of a folder, one after another; only a few are held at a time.

        Args:
            folder: of images, at any depth.

        Yields:
            Each file and its prediction, in the order of the names.

        Raises:
            DataError: no images, or a file that cannot be read.
        """
        images = find_images([Path(folder)], warn_caller)
        for one in predict_files(self.run, images, self.device, keep_originals=True):
            warn_of_unlike(self.run, str(one.path), one.original, self._told, warn_caller)
            yield one.path, one.prediction

    def calibrate(
        self,
        *,
        cross_fit: PathLike | None = None,
        add_good: Iterable[PathLike] = (),
        add_rejects: Iterable[PathLike] = (),
        labelled: PathLike | None = None,
        fresh: bool = False,
        **thresholds: Unpack[Thresholds],
    ) -> Card:
        """Set the threshold of verdicts from good images that were held out of training, or came later.

        Where these are too few for the rates, five other detectors score the images that this one was trained on, as
        ``cross_fit`` asks for; that takes as long as five trainings.

        Args:
            cross_fit: the category that it was trained on, whose images count too.
            add_good: folders of all good parts of a period, none of which was trained on.
            add_rejects: folders of rejected parts that were fine.
            labelled: a category whose test images are good and defective.
            fresh: forget what earlier calibrations added.
            thresholds: which ones, as in `Thresholds`; without any, a false-reject rate of 0.05.

        Returns:
            The decision card, which `predict` follows from now on and `save` stores.

        Raises:
            ConfigError: a rate or threshold that cannot be, or not with the others.
            DataError: the images cannot support the rate; the message says how many would.
        """
        request = Request(**thresholds)
        sets = gather(
            self.run,
            self.device,
            cross_fit=None if cross_fit is None else read_category(Path(cross_fit)),
            add_good=[Path(folder) for folder in add_good],
            add_rejects=[Path(folder) for folder in add_rejects],
            labelled=None if labelled is None else read_category(Path(labelled)),
            fresh=fresh,
        )
        need = need_of_cross_fit(self.run, sets, lowest_asked(request))
        if need is not None:
            sets = (*sets, cross_fitted(self.run, need.category, self.device, frozenset(), silent))
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
    preset: str | None = None,
    objective: str | Loss | Mapping[str | Loss, float] | None = None,
    backbone: str | Backbone | Callable[[], Backbone] | None = None,
    density: str | Callable[[int, tuple[int, int]], Density] | None = None,
    model: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int | None = None,
    config: Config | None = None,
    roi: PathLike | None = None,
    ignore: PathLike | None = None,
    device: str = "auto",
) -> Detector:
    """Train a detector on the good images of a category.

    Args:
        category: folder of one product, in any layout that `vtadl data check` knows.
        preset: a name from `vtadl presets`; ``None``: the default.
        objective: weighted sum of losses, such as ``mse + vae``, for presets that are trained; a loss of your own; or
            weights by name or loss, such as ``{"mse": 1, focal: 0.5}``.
        backbone: ``model.backbone``, or a network of your own, as a class or made.
        density: ``model.density``, or a density of your own, as a class or whatever makes it of width and grid.
        model: settings of the model by name, such as ``{"image_size": 416}`` (`vtadl.config.schema`).
        training: settings of the training, such as ``{"steps": 1000}``.
        seed: of everything random; ``None``: 0.
        config: all settings at once, such as another detector's ``config``, in place of a preset. An ``objective`` and
            a ``seed`` given beside it, and single settings, come on top of it.
        roi: what to look at in every image: a mask as PNG, or polygons in JSON.
        ignore: what to ignore, likewise.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: an unknown preset, setting, objective or device.
        DataError: images that cannot be used.
    """
    own = {key: thing for key, thing in (("backbone", backbone), ("density", density)) if thing is not None}
    chosen = _config(preset, None if objective is None else expression_of(objective), seed, config)
    chosen = with_values(chosen, model={**(model or {}), **own}, training=training)
    files = (None if file is None else Path(file) for file in (roi, ignore))
    content = replace(read_category(Path(category)), roi_mask=read_region_of_interest(*files))
    for line in content.remarks():
        warn_caller(line)
    stop_on_problems(content.samples, empty_classes(content), warn_caller)
    run = train_run(chosen, content, pick_device(device))
    note_category(run.times, Path(category))
    return Detector(run, device)


def load(folder: PathLike, device: str = "auto", *, plugins: Iterable[Any] = ()) -> Detector:
    """Read a run folder back.

    Args:
        folder: what `Detector.save` or ``vtadl train`` wrote.
        device: ``auto``, ``cpu`` or ``cuda``.
        plugins: the losses, backbone or density of your own that it was trained with, or their names: a folder alone
            never makes us import what it names, unless it is an installed entry point.

    Raises:
        BundleError: no run, or an unfinished, damaged or newer one.
        PluginError: it was trained with something of your own that is not given.
    """
    for thing in plugins:
        named(thing)
    return Detector(load_run(Path(folder)), device)


def teach(
    detector: Detector,
    folder: PathLike,
    *,
    defective: PathLike | None = None,
    category: PathLike | None = None,
    threshold: bool = True,
) -> Teaching:
    """Let a detector learn new good parts, in place and without training it again; its threshold is set again.

    Args:
        detector: of the preset ``fusion`` or ``accurate``, from `train` or `load`.
        folder: of good parts, in any layout; its test images are not learned.
        defective: folder of known defective parts, whose scores are compared and change nothing.
        category: where the images that it was trained on are now, if not where they were: the held-out ones are scored
            again.
        threshold: ``False`` leaves a calibrated detector without a threshold, for a later `Detector.calibrate`.

    Raises:
        ConfigError: a preset that cannot be taught.
        BundleError: an older run, which does not hold what teaching takes.
        DataError: nothing new to learn, images that cannot be used, or too few for the threshold.
    """
    content = read_category(Path(folder))
    stop_on_problems((*content.train, *content.validation), ())
    teaching = teach_run(
        detector.run,
        Path(folder),
        detector.device,
        defective=None if defective is None else Path(defective),
        moved_to=None if category is None else Path(category),
        threshold=threshold,
    )
    detector.run = teaching.run
    return teaching


def evaluate(
    detector: Detector, category: PathLike, *, resolution: int | None = None, protocol: str | None = None
) -> Report:
    """Compute every metric of a detector on a category's test images.

    Args:
        detector: from `train` or `load`.
        category: folder of one product with test images.
        resolution: shorter side in pixels that metrics are computed at; ``None``: the masks' own.
        protocol: ``vtadl-2021`` measures also what that paper's code calls PRO (`vtadl.metrics.published`).

    Raises:
        ConfigError: a resolution or a protocol that cannot be.
        DataError: no test images, or files that cannot be used.
    """
    content = unseen_by(detector.run, read_category(Path(category)))
    stop_on_problems(content.test, empty_classes(content))
    return evaluate_run(detector.run, content, detector.device, resolution=resolution, protocol=protocol)


def _config(preset: str | None, objective: str | None, seed: int | None, config: Config | None) -> Config:
    if config is None:
        return preset_config(preset_name(preset or DEFAULT_PRESET), seed=seed or 0, objective=objective)
    if preset is not None:
        raise ConfigError("train takes a preset or a config; got both")
    config = config if objective is None else replace(config, objective=objective)
    return config if seed is None else replace(config, seed=seed)
