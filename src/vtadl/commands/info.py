"""``vtadl info`` and ``vtadl presets``."""

import argparse
import textwrap
from collections.abc import Mapping
from typing import Any

from vtadl.commands.arguments import add_command, add_json, add_run, show
from vtadl.commands.info_learned import learned_lines
from vtadl.config.aliases import ALIASES
from vtadl.config.presets import DEFAULT_PRESET, PRESETS
from vtadl.config.schema import Config

WIDTH = 80


def add_to(commands: Any) -> None:
    """Declare the commands."""
    parser = add_command(commands, run_info, "info", "say what a detector is: trained on what, how, with what")
    add_run(parser)
    parser.add_argument(
        "--learned", action="store_true", help="list the good images, the least usual first: suspects among them"
    )
    parser.add_argument("--versions", action="store_true", help="list what changed it: trained, calibrated, taught")
    add_json(parser)
    add_command(commands, run_presets, "presets", "list presets, losses and backbones, a line each")


def run_info(options: argparse.Namespace) -> int:
    """Print what the run folder says of itself."""
    from vtadl.commands.tables import card_lines
    from vtadl.config.overrides import to_toml
    from vtadl.runs.record import describe_run

    found = describe_run(options.run_folder)
    record, source = found.record, found.record["source"]
    size = sum(file.stat().st_size for file in options.run_folder.iterdir() if file.is_file())
    if options.learned:
        print("\n".join(learned_lines(record, found.card, found.times)))
        return 0
    if options.versions:
        return _print_versions(options)
    content = {**record, "times": found.times, "bytes": size, "config": to_toml(found.config)}
    threshold = ["threshold   none yet: verdicts stay null until vtadl calibrate"]
    lines = [
        f"preset      {found.config.preset}, seed {found.config.seed}",
        f"trained on  {source['trained_on']} good images of {source['category']} ({source['layout']} layout)",
        f"held out    {source['held_out']} good images for calibration",
        f"input       {_input(record, found.config)} pixels",
        f"when        {found.times.get('date', '-')}, {found.times.get('training_seconds', '-')} s",
        f"where       {found.times.get('hardware', '-')}",
        f"processor   {_processor(found.times.get('processor'))}",
        f"versions    vtadl {record['vtadl']}, torch {record['torch']}, format {record['format']}",
        f"size        {size / 1e6:.1f} MB",
        *(threshold if found.card is None else ["", *card_lines(found.card)]),
        f"\n{to_toml(found.config).rstrip()}",
    ]
    show(options.json, content, lines)
    return 0


def _print_versions(options: argparse.Namespace) -> int:
    from vtadl.runs.versions import versions_of

    versions = versions_of(options.run_folder)
    content = [{"number": one.number, "made": one.made, "change": one.change} for one in versions]
    current = versions[-1]
    lines = [f"{v.number:>4}  {v.made:<26}  {v.change}{'  (current)' if v is current else ''}" for v in versions]
    show(options.json, {"versions": content, "current": current.number}, lines)
    return 0


def _input(record: Mapping[str, Any], config: Config) -> str:
    """Width and height of the images that the model sees; an old run says the side of its square alone."""
    try:
        height, width = record["input_size"]
    except (KeyError, TypeError, ValueError):
        height = width = config.model.image_size
    return f"{width} x {height}"


def _processor(recorded: Any) -> str:
    """What a run says of the processor it was trained on; an old one, or one that somebody changed, says nothing."""
    try:
        return f"{recorded['capability']}, of {', '.join(recorded['flags']) or 'unknown flags'}"
    except (KeyError, TypeError):
        return "-"


def run_presets(options: argparse.Namespace) -> int:
    """Print the table."""
    from vtadl.backbones.names import BACKBONES
    from vtadl.config import plugins
    from vtadl.losses.objective import TERMS

    plugged = {
        group: {name: plugins.origin(point) for name, point in plugins.installed(group).items()}
        for group in (plugins.LOSSES, plugins.BACKBONES, plugins.DENSITIES)
    }

    defaults = {DEFAULT_PRESET: " (default)"}
    _print_list("presets", {name: preset.summary + defaults.get(name, "") for name, preset in PRESETS.items()})
    names = {preset: [alias for alias in ALIASES if ALIASES[alias] == preset] for preset in PRESETS}
    _print_list("other names", {preset: ", ".join(found) for preset, found in names.items() if found})
    _print_list(
        'losses, to be combined as in --objective "5*mse + 0.5*ssim + nll"',
        {**{name: term.summary for name, term in TERMS.items()}, **plugged[plugins.LOSSES]},
    )
    _print_list("backbones", {**BACKBONES, **plugged[plugins.BACKBONES]})
    if plugged[plugins.DENSITIES]:
        _print_list("densities, for model.density of the preset gaussian", plugged[plugins.DENSITIES])
    return 0


def _print_list(title: str, rows: Mapping[str, str]) -> None:
    print(title)
    for name, summary in rows.items():
        print(textwrap.fill(summary, WIDTH, initial_indent=f"  {name:<20}", subsequent_indent=" " * 22))
