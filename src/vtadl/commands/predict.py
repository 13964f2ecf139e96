"""``vtadl predict``."""

import argparse
import signal
import threading
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_command, add_device, add_force, add_run, warn
from vtadl.errors import ConfigError


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "predict", "score images: verdicts, regions, overlays and anomaly maps")
    parser.epilog = "A call that was cut off resumes where it was when it is given again."
    add_run(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER", help="folders are searched whole")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to, or to resume")
    parser.add_argument("--no-overlays", action="store_true", help="write no pictures of the heat maps")
    parser.add_argument("--no-maps", action="store_true", help="write no anomaly maps")
    parser.add_argument("--watch", action="store_true", help="continue with new images as they come, until Ctrl-C")
    parser.add_argument("--ray", metavar="ADDRESS", help="spread the images over a Ray cluster; local starts one")
    add_device(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Score and write; exit code 1 if any file could not be read."""
    from vtadl.inference.batch import Options, inspect_files
    from vtadl.inference.predict import pick_device
    from vtadl.progress import bar
    from vtadl.runs.run import load_run

    if options.watch and options.ray:
        raise ConfigError("--watch takes images as they come, --ray many at once; give one of them")
    device = pick_device(options.device)
    loaded = load_run(options.run_folder)
    written = Options(overlays=not options.no_overlays, maps=not options.no_maps)
    if options.watch:
        return _watch(options, loaded, device, written)
    try:
        summary = inspect_files(
            loaded,
            options.images,
            options.out,
            device,
            options=written,
            force=options.force,
            spread=_spread(options, device, written),
            warn=warn,
            progress=bar,
        )
    except KeyboardInterrupt:
        warn("give the same command again to resume where this one was")
        raise
    if summary.added < summary.rows:
        print(f"resumed after {summary.rows - summary.added} images")
    print(f"scored {summary.rows - summary.failed} images: {options.out / 'predictions.jsonl'}")
    if summary.failed:
        warn(f"{summary.failed} files could not be read; they have a row with the error")
    return 1 if summary.failed else 0


def _spread(options: argparse.Namespace, device: Any, written: Any) -> Any:
    from functools import partial

    from vtadl.inference.ray_batch import spread_over_ray

    return partial(spread_over_ray, options.ray, options.run_folder, device, written) if options.ray else None


def _watch(options: argparse.Namespace, loaded: Any, device: Any, written: Any) -> int:
    from vtadl.inference.watch import watch_folders

    file = next((path for path in options.images if path.is_file()), None)
    if file is not None:
        raise ConfigError(f"--watch takes folders; '{file}' is a file")
    print(f"watching {', '.join(map(str, options.images))}; Ctrl-C ends it", flush=True)
    summary = watch_folders(
        loaded,
        options.images,
        options.out,
        device,
        options=written,
        force=options.force,
        stop=_stopped_by_signals(),
        say=warn,
    )
    print(f"stopped after {summary.added} new images: {options.out / 'predictions.jsonl'}")
    return 1 if summary.failed else 0


def _stopped_by_signals() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM, so that no work is lost; the second one ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop
