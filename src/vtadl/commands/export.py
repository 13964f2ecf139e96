"""``vtadl export``."""

import argparse
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_command, add_force, add_run


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "export", "write the detector as a model that runs without PyTorch")
    add_run(parser)
    kinds = ("onnx", "openvino")
    parser.add_argument("--to", required=True, choices=kinds, metavar="|".join(kinds), help="kind of model")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: RUN/onnx, RUN/openvino)")
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images to compare on, not stored (default: made ones)"
    )
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Export, compare, and say how close and how fast it is."""
    from vtadl.export.export import export_run, sample_images
    from vtadl.runs.folders import check_free
    from vtadl.runs.run import load_run

    out: Path = options.out or options.run_folder / options.to
    check_free(out, force=options.force)
    loaded = load_run(options.run_folder)
    exported = export_run(loaded, out, to=options.to, images=sample_images(options.images), force=options.force)
    agreement = exported.manifest.agreement
    print(f"exported '{exported.manifest.preset}' to {options.to}, {exported.megabytes:.1f} MB: {out}")
    print(
        f"agrees with PyTorch on {agreement['images']} images: maps within {agreement['anomaly_map']:.1g} of the "
        f"highest score, {agreement['tolerance']:g} allowed"
    )
    height, width = exported.manifest.input_size
    for name, milliseconds in exported.milliseconds.items():
        print(f"{name:<10}{milliseconds:8.1f} ms an image of {width} x {height} pixels")
    if loaded.card is None:
        print("verdicts stay null: calibrate the run (vtadl calibrate), then export again")
    return 0
