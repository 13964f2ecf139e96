"""``vtadl train``."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import (
    add_category,
    add_command,
    add_device,
    add_force,
    add_plugin,
    add_skip_bad,
    progress_of,
    warn,
)
from vtadl.config.aliases import preset_name
from vtadl.config.overrides import overlay, read_config
from vtadl.config.presets import DEFAULT_PRESET, PRESETS
from vtadl.config.schema import Config
from vtadl.errors import ConfigError, TrainingInterrupted

if TYPE_CHECKING:
    import torch

    from vtadl.data.layouts import Category, Sample
    from vtadl.runs.run import Run


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "train", "learn from the good images of a category")
    add_category(parser)
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="folder to write the detector to (default runs/CATEGORY)"
    )
    parser.add_argument(
        "--preset", type=preset_name, metavar="NAME", help=f"one of: {', '.join(PRESETS)} (default {DEFAULT_PRESET})"
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings, as in a run's config.toml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as training.steps=1000"
    )
    parser.add_argument("--objective", metavar="EXPR", help='weighted losses, such as "mse + 0.5*ssim + nll"')
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")
    parser.add_argument("--roi", type=Path, metavar="FILE", help="what to look at: PNG, or polygons in JSON")
    parser.add_argument("--ignore", type=Path, metavar="FILE", help="what to ignore: PNG, or polygons in JSON")
    add_plugin(parser)
    add_device(parser)
    add_skip_bad(parser)
    add_force(parser)
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="show the training there; extra: tensorboard")
    parser.add_argument("--calibrate", action="store_true", help="then calibrate, as vtadl calibrate RUN does")
    parser.add_argument(
        "--resume", action="store_true", help="resume the training in --out as if it had not been cut off"
    )


def run(options: argparse.Namespace) -> int:
    """Train and write the run folder."""
    asked = None if options.resume else read_config(*_flags(options))  # before torch is loaded
    from vtadl.commands.usable_samples import usable
    from vtadl.data.integrity import empty_classes
    from vtadl.data.layouts import read_category
    from vtadl.data.roi import read_region_of_interest
    from vtadl.inference.predict import pick_device
    from vtadl.models.build import check_model
    from vtadl.runs.folders import check_free
    from vtadl.runs.origin import remember_category
    from vtadl.training.distributed import launched_rank

    if options.force and options.resume:
        raise ConfigError("--force starts again and --resume resumes; give one of them")
    if options.calibrate and launched_rank() is not None:
        raise ConfigError("--calibrate takes one process; run vtadl calibrate when torchrun is done")
    options.out = options.out or Path("runs") / (options.category.name.strip(".") or options.category.resolve().name)
    config = asked or _resumed(options)
    check_model(config)
    device = pick_device(options.device)
    if not options.resume and not launched_rank():
        check_free(options.out, force=options.force)
    roi_mask = read_region_of_interest(options.roi, options.ignore)
    category = replace(read_category(options.category), roi_mask=roi_mask)
    for line in category.remarks():
        warn(line)
    # All of them: what vtadl data check calls an error ends a training.
    skip = usable(category.samples, empty_classes(category), skip_bad=options.skip_bad, progress=progress_of(options))
    finished = options.resume and (options.out / "run.json").exists()
    trained = _train(options, config, category, device, skip)
    if trained is None:
        return 0
    remember_category(options.out, trained.times, options.category)
    if finished:
        print(f"'{options.out}' was finished already, with these images and settings")
    else:
        _print_trained(options, trained)
    if options.calibrate:
        _calibrate(options, trained, device)
    return 0


def _train(
    options: argparse.Namespace,
    config: Config,
    category: "Category",
    device: "torch.device",
    skip: frozenset["Sample"],
) -> "Run | None":
    """Train, and say after Ctrl-C what is left."""
    from vtadl.training.train import train_to

    try:
        return train_to(
            options.out,
            config,
            category,
            device,
            force=options.force,
            resume=options.resume,
            skip=skip,
            tensorboard=options.tensorboard,
            progress=progress_of(options),
        )
    except TrainingInterrupted:
        raise
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(_interrupted(options.out)) from interrupt


def _interrupted(out: Path) -> str:
    """What is left of a training that ended before a checkpoint, and how to resume."""
    from vtadl.runs.record import is_unfinished, so_far

    if is_unfinished(out):
        return f"interrupted; '{out}' keeps the settings{so_far(out)}: the same command with --resume continues"
    return f"interrupted; nothing was written to '{out}': give the same command again"


def _print_trained(options: argparse.Namespace, trained: "Run") -> None:
    """What was trained, what these images can promise, and what to do next."""
    from vtadl.decision.threshold import lowest_rate

    source, seconds = trained.source, trained.times["training_seconds"]
    print(
        f"trained '{trained.config.preset}' on {source.trained_on} good images of {source.category} in {seconds:.1f} s"
    )
    print(f"held out {source.held_out} good images for calibration")
    rates = [f"{100 * lowest_rate(source.images):g} % cross-fitted"]
    if source.held_out:
        rates.insert(0, f"{100 * lowest_rate(source.held_out):g} % by those alone")
    print(f"lowest false-reject rate that these images can promise: {', '.join(rates)}")
    print(f"run folder: {options.out}")
    if not options.calibrate:
        print(f"next: vtadl calibrate {shlex.quote(str(options.out))}")


def _calibrate(options: argparse.Namespace, trained: "Run", device: "torch.device") -> None:
    from vtadl.calibration.calibrate import Request
    from vtadl.calibration.images import gather
    from vtadl.commands.calibrate import write_calibrated

    options.json = None
    try:
        write_calibrated(options, trained, options.out, gather(trained, device), Request(), device)
    except KeyboardInterrupt as interrupt:
        out = shlex.quote(str(options.out))
        raise KeyboardInterrupt(
            f"interrupted; the training is done, and vtadl calibrate {out} continues"
        ) from interrupt


def _flags(options: argparse.Namespace) -> tuple[Any, ...]:
    return options.config, options.preset, options.objective, options.seed, options.set


def _resumed(options: argparse.Namespace) -> Config:
    """The settings of the training to resume; where there is none yet, what the command line asks for."""
    from vtadl.training.resume import resumed_config

    flags = _flags(options)
    return resumed_config(options.out, lambda stored: overlay(stored, *flags)) or read_config(*flags)
