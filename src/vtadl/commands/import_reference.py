"""``vtadl import-reference``."""

import argparse
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_command, add_device, add_force, progress_of, warn


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "import-reference", "take over checkpoints that VT-ADL's published code saved")
    parser.add_argument("autoencoder", type=Path, metavar="VT_AE.pt", help="of the transformer and its decoder")
    parser.add_argument("mixture", type=Path, metavar="G_estimate.pt", help="of the mixture density network")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder to write the detector to")
    parser.add_argument("--heads", type=int, default=8, metavar="N", help="of the attention (default: %(default)s)")
    parser.add_argument(
        "--category", type=Path, metavar="CATEGORY", help="its good training images set the colours of heat maps"
    )
    add_device(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Read the tensors, and nothing but tensors, and write the run folder."""
    from vtadl.data.layouts import read_category
    from vtadl.inference.predict import pick_device
    from vtadl.models.reference_checkpoint import load_reference
    from vtadl.runs.folders import check_free
    from vtadl.runs.run import save_run
    from vtadl.training.import_reference import adopted_run

    device = pick_device(options.device)
    check_free(options.out, force=options.force)
    category = read_category(options.category) if options.category else None
    network = load_reference(options.autoencoder, options.mixture, heads=options.heads)
    if category is None:
        warn("without --category the colours of heat maps have no scale; scores are not concerned")
    adopted = adopted_run(network, category, device, progress=progress_of(options))
    save_run(adopted, options.out, force=options.force)
    sizes = network.config
    print(
        f"imported VT-ADL's network: images of {sizes.image_size}, patches of {sizes.patch_size}, width {sizes.width}, "
        f"{sizes.depth} blocks, {sizes.mixtures} Gaussians"
    )
    print(f"run folder: {options.out}")
    return 0
