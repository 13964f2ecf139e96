"""``vtadl predict``."""

import argparse
from pathlib import Path
from typing import Any

from vtadl.commands.arguments import add_command, add_device, add_force, add_run, progress_of, say, warn
from vtadl.commands.prediction_rows import UNREADABLE, Printed, Row, Tally, image_lines, print_json, print_row
from vtadl.errors import ConfigError, DataError
from vtadl.runs.record import read_record

LINES_FILE = "predictions.jsonl"


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "predict", "score images: verdicts, regions, overlays and anomaly maps")
    parser.epilog = "A call that was cut off resumes where it was when it is given again."
    add_run(parser)
    images = parser.add_argument(
        "images", nargs="+", type=Path, default=[], metavar="IMAGE_OR_FOLDER", help="folders are searched whole"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to, or to resume (default: verdicts are only printed)"
    )
    parser.add_argument(
        "--json", choices=["-"], metavar="-", help="print a line of JSON an image instead, as in predictions.jsonl"
    )
    parser.add_argument("--no-overlays", action="store_true", help="write no pictures of the heat maps")
    parser.add_argument(
        "--overlay-only", action="store_true", help="heat maps alone, at the images' own size, for machines"
    )
    parser.add_argument("--no-maps", action="store_true", help="write no anomaly maps")
    parser.add_argument("--watch", action="store_true", help="continue with new images as they come, until Ctrl-C")
    parser.add_argument(
        "--source",
        action=_Instead,
        of=images,
        metavar="SOURCE",
        help="frames instead: a film, a camera's number, http: or rtsp: (extra: camera)",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="with --source: one frame of N (default 1)")
    parser.add_argument(
        "--reconnect",
        type=int,
        default=10,
        metavar="N",
        help="with --source: tries in a row to get back a stream or camera that ended (default 10, in 3 minutes; 0: "
        "its end is the end)",
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="spread the images over a Ray cluster; local starts one")
    add_device(parser)
    add_force(parser)


class _Instead(argparse.Action):
    """Stores its value, and another argument is no longer asked for.

    With ``nargs="*"`` instead, argparse takes no images behind an option.
    """

    def __init__(self, *args: Any, of: argparse.Action, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.of = of

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values)
        self.of.required = False


def run(options: argparse.Namespace) -> int:
    """Score and write; exit code 1 if any file could not be read."""
    _check(options)
    read_record(options.run_folder)  # before torch is loaded
    from vtadl.inference.batch import Options
    from vtadl.inference.predict import pick_device
    from vtadl.runs.run import load_run

    device = pick_device(options.device)
    loaded = load_run(options.run_folder)
    written = Options(overlays=not options.no_overlays, maps=not options.no_maps, panels=not options.overlay_only)
    if options.source is not None:
        return _frames(options, loaded, device, written)
    if options.out is None:
        return _printed(options, loaded, device)
    return (_watch if options.watch else _write)(options, loaded, device, written)


def _check(options: argparse.Namespace) -> None:
    if options.images and options.source is not None:
        raise ConfigError("--source takes no images beside it; give one of them")
    if options.source is not None and (options.watch or options.ray):
        raise ConfigError("--source takes frames as they come; --watch and --ray go with folders")
    if options.every < 1:
        raise ConfigError(f"--every is {options.every}; expected 1 frame of so many, from 1 on")
    if options.reconnect < 0:
        raise ConfigError(f"--reconnect is {options.reconnect}; expected a number of tries, from 0 on")
    if options.watch and options.ray:
        raise ConfigError("--watch takes images as they come, --ray many at once; give one of them")
    if options.overlay_only and options.no_overlays:
        raise ConfigError("--overlay-only and --no-overlays cannot both be; give one of them")
    if options.out is None:
        for flag in ("watch", "ray", "no_overlays", "overlay_only", "no_maps", "force"):
            if getattr(options, flag):
                raise ConfigError(f"--{flag.replace('_', '-')} goes with --out DIR, the folder to write to")


def _printed(options: argparse.Namespace, loaded: Any, device: Any) -> int:
    """Score without a folder to write to: one image in full, several in a line each."""
    from vtadl.data.layouts import find_images
    from vtadl.inference.batch import Options, error_row, inspect_into
    from vtadl.inference.predict import warn_of_unlike

    paths = find_images(options.images, warn)
    told: set[str] = set()
    single = len(paths) == 1 and options.json is None
    tally, show = Tally(), print_json if options.json else print_row

    def show_single(row: Row) -> None:
        for line in image_lines(row, loaded.card):
            print(line)

    def failed(path: Path, error: DataError) -> dict[str, Any]:
        warn(str(error))
        return error_row(path, error)

    inspect_into(
        Printed(show_single if single else show, tally.add),
        loaded,
        paths,
        {path: path for path in paths},
        device,
        Options(overlays=False, maps=False),
        on_error=failed,
        on_scored=lambda one: warn_of_unlike(loaded, str(one.path), one.original, told, warn),
    )
    if options.json is None and not single:
        print(tally.line())
        say(options, "nothing was written; --out DIR keeps the verdicts with heat maps and anomaly maps")
    return 1 if tally.counts[UNREADABLE] else 0


def _write(options: argparse.Namespace, loaded: Any, device: Any, written: Any) -> int:
    from vtadl.inference.batch import inspect_files
    from vtadl.inference.predictions_file import unobserved

    try:
        summary = inspect_files(
            loaded,
            options.images,
            options.out,
            device,
            options=written,
            force=options.force,
            spread=_spread(options, device, written),
            observe=print_json if options.json else unobserved,
            warn=warn,
            progress=progress_of(options),
        )
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f"interrupted; '{options.out}' keeps what is done: the same command resumes where this one was"
        ) from interrupt
    if options.json is None:
        if summary.added < summary.rows:
            say(options, f"resumed after {summary.rows - summary.added} images")
        say(options, f"scored {summary.rows - summary.failed} images: {options.out / LINES_FILE}")
        print(_tally(options.out).line())
    if summary.failed:
        warn(f"{summary.failed} files could not be read; they have a row with the error")
    return 1 if summary.failed else 0


def _tally(out: Path) -> Tally:
    """Of all rows, those of earlier calls too."""
    from vtadl.inference.predictions_file import read_rows

    tally = Tally()
    for row in read_rows(out / LINES_FILE):
        tally.add(row)
    return tally


def _frames(options: argparse.Namespace, loaded: Any, device: Any, written: Any) -> int:
    """Score the frames of a film, a camera or a stream, until it ends or Ctrl-C."""
    from functools import partial

    from vtadl.inference.batch import Options, task
    from vtadl.inference.frames import inspect_frames, is_live, without_password
    from vtadl.inference.predictions_file import open_predictions_file
    from vtadl.terminal import finishing_the_item

    tally, show = Tally(), print_json if options.json else print_row
    with finishing_the_item() as stop:
        how = {"every": options.every, "reconnect": options.reconnect, "say": warn, "stop": stop}
        inspect = partial(inspect_frames, loaded, options.source, device=device, **how)
        if options.out is None:
            passed = inspect(sink=Printed(show, tally.add), options=Options(overlays=False, maps=False))
        else:
            what = {**task(loaded, [], written), "source": without_password(options.source), "every": options.every}
            with open_predictions_file(options.out, what, force=options.force, observe=show) as predictions:
                known = {name for name, _, _ in predictions.done}
                passed = inspect(sink=predictions, options=written, done=known.__contains__)
                if not is_live(options.source) and not stop.is_set():
                    predictions.finish()
            tally = _tally(options.out)
    if options.json is None:
        print(tally.line())
        if passed:
            say(options, f"{passed} frames were passed over, as newer ones came while one was scored")
    return 0


def _spread(options: argparse.Namespace, device: Any, written: Any) -> Any:
    from functools import partial

    from vtadl.inference.ray_batch import spread_over_ray

    return partial(spread_over_ray, options.ray, options.run_folder, device, written) if options.ray else None


def _watch(options: argparse.Namespace, loaded: Any, device: Any, written: Any) -> int:
    from vtadl.inference.watch import watch_folders
    from vtadl.terminal import finishing_the_item

    file = next((path for path in options.images if path.is_file()), None)
    if file is not None:
        raise ConfigError(f"--watch takes folders; '{file}' is a file")
    if options.json is None:
        say(options, f"watching {', '.join(map(str, options.images))}; Ctrl-C ends it")
    with finishing_the_item() as asked:
        summary = watch_folders(
            loaded,
            options.images,
            options.out,
            device,
            options=written,
            force=options.force,
            observe=print_json if options.json else print_row,
            stop=asked,
            say=warn,
        )
    if options.json is None:
        say(options, f"stopped after {summary.added} new images: {options.out / LINES_FILE}")
        print(_tally(options.out).line())
    return 1 if summary.failed else 0
