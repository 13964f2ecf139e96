"""Whether a training may resume: with the settings and images that it began with, and nothing else.

A training that resumed as something else would be neither of the two, and its log would say that it is the first.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.config.overrides import differences, from_toml, to_toml
from vtadl.config.schema import SQUARE, Config, with_aspect
from vtadl.data.roi import mask_png
from vtadl.errors import BundleError, ConfigError, DataError, warn_caller
from vtadl.runs.checkpoint import CHECKPOINT_FILE, Conditions, read_metadata
from vtadl.runs.files import MAX_TEXT_BYTES
from vtadl.runs.record import CONFIG_FILE, check_regular
from vtadl.runs.run import Source
from vtadl.training.distributed import ProcessGroup


def resumed_config(folder: Path, requested: Callable[[Config], Config]) -> Config | None:
    """The settings of the training that a folder holds, finished or not; ``None`` where there is none.

    ``requested`` applies what the command line asks for to the folder's settings.

    Raises:
        ConfigError: it asks for others.
        BundleError: the folder's settings cannot be read, or are of another version's unfinished training.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        return None
    if (folder / CHECKPOINT_FILE).exists():
        read_metadata(folder / CHECKPOINT_FILE)  # before settings that this version may not know
    check_regular(path, MAX_TEXT_BYTES)
    try:
        stored = with_aspect(from_toml(path.read_text(encoding="utf-8"), str(path)), SQUARE)
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot continue with '{folder}': {error}; start again with --force") from error
    check_same(folder, stored, requested(stored))
    return stored


def conditions_of(config: Config, source: Source, device: torch.device, group: ProcessGroup) -> Conditions:
    """What a training begins with, or resumes with."""
    return Conditions(
        config=to_toml(config),
        images=source.images,
        content_sha256=source.content_sha256,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        processes=group.size,
        device=device.type,
    )


def check_conditions(folder: Path, config: Config, conditions: Conditions) -> None:
    """Compare with what is in the folder.

    Raises:
        ConfigError: the settings differ.
        DataError: the images differ.
        BundleError: the checkpoint is damaged.
    """
    resumed_config(folder, lambda stored: config)
    if not (folder / CHECKPOINT_FILE).exists():
        return
    try:
        before = Conditions(**read_metadata(folder / CHECKPOINT_FILE)["conditions"])
        trained = with_aspect(from_toml(before.config, f"{folder / CHECKPOINT_FILE}"), SQUARE)
    except (KeyError, TypeError, ConfigError) as error:
        raise BundleError(f"'{folder / CHECKPOINT_FILE}' is damaged: {error!r}; start again with --force") from error
    check_same(folder, trained, config)
    check_data(folder, conditions.images, conditions.content_sha256, before.images, before.content_sha256)
    for name in ("torch", "threads", "processes", "device"):
        old, new = getattr(before, name), getattr(conditions, name)
        if old != new:
            warn_caller(f"training began with {name} {old} and resumes with {new}: not the same to the last bit")


def check_same(folder: Path, before: Config, after: Config) -> None:
    """Compare settings.

    Raises:
        ConfigError: some differ; the message lists them.
    """
    changed = differences(before, after)
    if changed:
        raise ConfigError(
            f"'{folder}' was begun with other settings: {', '.join(changed)}; resume with those it has, or start again "
            "with --force"
        )


def check_data(folder: Path, count: int, content: str, count_before: int, content_before: str) -> None:
    """Compare images, by their number and the hash of their content.

    Raises:
        DataError: they are others.
    """
    if content == content_before:
        return
    what = f"{count_before} good images, now {count}" if count != count_before else f"{count} good images, now others"
    raise DataError(f"'{folder}' was begun with {what}; bring those back, or start again with --force")


def check_region(folder: Path, before: NDArray[np.bool_] | None, after: NDArray[np.bool_] | None) -> None:
    """Compare regions of interest.

    Raises:
        ConfigError: they differ.
    """
    stored = [None if mask is None else mask_png(mask) for mask in (before, after)]
    if stored[0] != stored[1]:
        raise ConfigError(f"'{folder}' was begun with another region of interest; give the same, or --force")
