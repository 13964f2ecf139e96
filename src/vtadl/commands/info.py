"""``vtadl info`` and ``vtadl presets``."""

import argparse
import textwrap
from collections.abc import Mapping
from typing import Any

from vtadl.commands.arguments import add_command, add_json, add_run, write_json
from vtadl.config.presets import DEFAULT_PRESET, PRESETS

WIDTH = 80


def add_to(commands: Any) -> None:
    """Declare the commands."""
    parser = add_command(commands, run_info, "info", "say what a detector is: trained on what, how, with what")
    add_run(parser)
    add_json(parser)
    add_command(commands, run_presets, "presets", "list presets, losses and backbones, a line each")


def run_info(options: argparse.Namespace) -> int:
    """Print what the run folder says of itself."""
    from vtadl.commands.tables import card_lines
    from vtadl.config.overrides import to_toml
    from vtadl.runs.run import load_run, read_record

    record = read_record(options.run_folder)
    loaded = load_run(options.run_folder)
    size = sum(file.stat().st_size for file in options.run_folder.iterdir() if file.is_file())
    content = {**record, "times": loaded.times, "bytes": size, "config": to_toml(loaded.config)}
    write_json(options.json, content)
    if str(options.json) == "-":
        return 0
    source = loaded.source
    print(f"preset      {loaded.config.preset}, seed {loaded.config.seed}")
    print(f"trained on  {source.trained_on} good images of {source.category} ({source.layout} layout)")
    print(f"held out    {source.held_out} good images for calibration")
    height, width = loaded.input_size
    print(f"input       {width} x {height} pixels")
    print(f"when        {loaded.times.get('date', '-')}, {loaded.times.get('training_seconds', '-')} s")
    print(f"where       {loaded.times.get('hardware', '-')}")
    print(f"processor   {_processor(loaded.times.get('processor'))}")
    print(f"versions    vtadl {record['vtadl']}, torch {record['torch']}, format {record['format']}")
    print(f"size        {size / 1e6:.1f} MB")
    if loaded.card is None:
        print("threshold   none yet: verdicts stay null until vtadl calibrate")
    else:
        print("\n" + "\n".join(card_lines(loaded.card)))
    print(f"\n{to_toml(loaded.config).rstrip()}")
    return 0


def _processor(recorded: Any) -> str:
    """What a run says of the processor it was trained on; an old one, or one that somebody changed, says nothing."""
    try:
        return f"{recorded['capability']}, of {', '.join(recorded['flags']) or 'unknown flags'}"
    except (KeyError, TypeError):
        return "-"


def run_presets(options: argparse.Namespace) -> int:
    """Print the table."""
    from vtadl.backbones.build import BACKBONES
    from vtadl.losses.objective import TERMS

    defaults = {DEFAULT_PRESET: " (default)"}
    _print_list("presets", {name: preset.summary + defaults.get(name, "") for name, preset in PRESETS.items()})
    _print_list(
        'losses, to be combined as in --objective "5*mse + 0.5*ssim + nll"',
        {name: term.summary for name, term in TERMS.items()},
    )
    _print_list("backbones", BACKBONES)
    return 0


def _print_list(title: str, rows: Mapping[str, str]) -> None:
    print(title)
    for name, summary in rows.items():
        print(textwrap.fill(summary, WIDTH, initial_indent=f"  {name:<20}", subsequent_indent=" " * 22))
