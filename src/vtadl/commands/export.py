"""``vtadl export``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import add_command, add_force, add_run, add_skip_bad
from vtadl.errors import ConfigError

if TYPE_CHECKING:
    from vtadl.calibration.quantization import Quantized
    from vtadl.runs.run import Run


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "export", "write the detector as a model that runs without PyTorch")
    add_run(parser)
    parser.add_argument("--to", required=True, metavar="onnx|openvino", help="kind of model")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write to (default: RUN/onnx, RUN/openvino, RUN/openvino-int8)",
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images to compare on, not stored (default: made ones)"
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="CATEGORY",
        help="backbone in eight bits (OpenVINO), density and thresholds again from what it was trained on",
    )
    add_skip_bad(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Export, compare, and say how close and how fast it is."""
    from vtadl.export.export import check_target, export_run, sample_images
    from vtadl.runs.run import check_free, load_run

    to = check_target(options.to)
    if options.int8 is not None and to != "openvino":
        raise ConfigError("--int8 goes with --to openvino")
    out: Path = options.out or options.run_folder / (to if options.int8 is None else f"{to}-int8")
    check_free(out, force=options.force)
    loaded, int8, images = load_run(options.run_folder), None, options.images
    if options.int8 is not None:
        quantised = _quantised(loaded, options)
        loaded, int8 = quantised.run, quantised.ranges
        images = images or quantised.held_out
    exported = export_run(loaded, out, to=to, images=sample_images(images), int8=int8, force=options.force)
    agreement = exported.manifest.agreement
    precision, reference = ("", "PyTorch") if int8 is None else (" in eight bits", "its calibration")
    print(f"exported '{exported.manifest.preset}' to {to}{precision}, {exported.megabytes:.1f} MB: {out}")
    print(
        f"agrees with {reference} on {agreement['images']} images: maps within {agreement['anomaly_map']:.1g} of the "
        f"highest score, {agreement['tolerance']:g} allowed"
    )
    height, width = exported.manifest.input_size
    for name, milliseconds in exported.milliseconds.items():
        print(f"{name:<10}{milliseconds:8.1f} ms an image of {width} x {height} pixels")
    if loaded.card is None:
        print("verdicts stay null: calibrate the run (vtadl calibrate), then export again")
    elif int8 is not None:
        print(loaded.card.notes[0])
    return 0


def _quantised(loaded: "Run", options: argparse.Namespace) -> "Quantized":
    from vtadl.calibration.quantization import quantise_run
    from vtadl.commands.usable_samples import usable
    from vtadl.data.layouts import read_category
    from vtadl.progress import bar

    category = read_category(options.int8)
    skip = usable(category.train + category.validation, skip_bad=options.skip_bad)
    return quantise_run(loaded, category, skip=skip, progress=bar)
