"""``vtadl train``."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_category, add_command, add_device, add_force, add_skip_bad, warn
from vtadl.config.overrides import overlay, read_config
from vtadl.config.presets import DEFAULT_PRESET, PRESETS
from vtadl.config.schema import Config
from vtadl.errors import ConfigError


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "train", "learn from the good images of a category")
    add_category(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder to write the detector to")
    parser.add_argument("--preset", metavar="NAME", help=f"one of: {', '.join(PRESETS)} (default {DEFAULT_PRESET})")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings, as in a run's config.toml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as training.steps=1000"
    )
    parser.add_argument("--objective", metavar="EXPR", help='weighted losses, such as "mse + 0.5*ssim + nll"')
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")
    parser.add_argument("--roi", type=Path, metavar="FILE", help="what to look at: PNG, or polygons in JSON")
    parser.add_argument("--ignore", type=Path, metavar="FILE", help="what to ignore: PNG, or polygons in JSON")
    add_device(parser)
    add_skip_bad(parser)
    add_force(parser)
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="show the training there; extra: tensorboard")
    parser.add_argument(
        "--resume", action="store_true", help="resume the training in --out as if it had not been cut off"
    )


def run(options: argparse.Namespace) -> int:
    """Train and write the run folder."""
    from vtadl.commands.usable_samples import usable
    from vtadl.data.layouts import read_category
    from vtadl.data.roi import read_region_of_interest
    from vtadl.inference.predict import pick_device
    from vtadl.models.build import check_model
    from vtadl.progress import bar
    from vtadl.runs.run import check_free
    from vtadl.training.distributed import launched_rank
    from vtadl.training.train import train_to

    if options.force and options.resume:
        raise ConfigError("--force starts again and --resume resumes; give one of them")
    config = _config(options)
    check_model(config)
    device = pick_device(options.device)
    if not options.resume and not launched_rank():
        check_free(options.out, force=options.force)
    roi_mask = read_region_of_interest(options.roi, options.ignore)
    category = replace(read_category(options.category), roi_mask=roi_mask)
    skip = usable(category.train + category.validation, skip_bad=options.skip_bad)
    finished = options.resume and (options.out / "run.json").exists()
    trained = train_to(
        options.out,
        config,
        category,
        device,
        warn=warn,
        force=options.force,
        resume=options.resume,
        skip=skip,
        tensorboard=options.tensorboard,
        progress=bar,
    )
    if trained is None:
        return 0
    if finished:
        print(f"'{options.out}' was finished already, with these images and settings")
        return 0
    source, seconds = trained.source, trained.times["training_seconds"]
    print(f"trained '{config.preset}' on {source.trained_on} good images of {source.category} in {seconds:.1f} s")
    print(f"held out {source.held_out} good images for calibration")
    print(f"run folder: {options.out}")
    return 0


def _config(options: argparse.Namespace) -> Config:
    """The settings: those of the training to resume, else what the command line asks for."""
    from vtadl.training.resume import resumed_config

    flags = (options.config, options.preset, options.objective, options.seed, options.set)
    stored = resumed_config(options.out, lambda stored: overlay(stored, *flags)) if options.resume else None
    return stored if stored is not None else read_config(*flags)
