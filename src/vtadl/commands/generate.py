"""``vtadl generate``."""

import argparse
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_command, add_device, add_force, add_run, progress_of


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "generate", "write images that a detector generates (loss vae_image)")
    add_run(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="how many (default: %(default)s)")
    add_device(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Generate and write."""
    from vtadl.inference.generate import write_generated
    from vtadl.inference.predict import pick_device
    from vtadl.runs.run import load_run

    device = pick_device(options.device)
    write_generated(
        load_run(options.run_folder),
        options.count,
        options.out,
        device,
        force=options.force,
        progress=progress_of(options),
    )
    print(f"generated {options.count} images: {options.out}")
    return 0
