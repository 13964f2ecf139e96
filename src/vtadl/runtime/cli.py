"""``vtadl-runtime``: score images with an exported detector, one JSON line an image on standard output."""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtadl.data.layouts import find_images
from vtadl.errors import ConfigError, DataError, VtadlError, VtadlWarning
from vtadl.runtime.detector import ExportedDetector, load
from vtadl.terminal import finishing_the_item, take_all_names, terminable, write_all_names
from vtadl.version import __version__

OK, FAILED, WRONG_COMMAND, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Score images.

    Returns:
        The exit code: 0 done, 1 a file or the export cannot be used, 2 the command line is wrong,
        130 Ctrl-C or SIGTERM.
    """
    if arguments is None:
        take_all_names()
    write_all_names()
    options = _parser().parse_args(arguments)
    try:
        with terminable(), warnings.catch_warnings(action="always", category=VtadlWarning):
            warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
            return _score(load(options.export, threads=options.threads), find_images(options.images, _say))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (VtadlError, OSError) as error:
        print(f"vtadl-runtime: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_COMMAND if isinstance(error, ConfigError) else FAILED


def _score(detector: ExportedDetector, files: Sequence[Path]) -> int:
    """Print a row for each file; a signal ends it after the row of the file in hand."""
    failed = 0
    with finishing_the_item() as asked:
        for number, file in enumerate(files, 1):
            row = _row(detector, file)
            failed += "error" in row
            print(json.dumps(row), flush=True)
            if asked.is_set():
                _say(f"interrupted after {number} of {len(files)} images; their rows are whole")
                return INTERRUPTED
    if failed:
        _say(f"{failed} files could not be scored: see the rows with an error")
    return FAILED if failed else OK


def _say(line: str) -> None:
    print(f"vtadl-runtime: {line}", file=sys.stderr)


def _row(detector: ExportedDetector, file: Path) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        prediction = detector.predict(file)
    except DataError as error:
        return {"file": str(file), "error": str(error)}
    return {
        "file": str(file),
        **prediction.to_dict(),
        "milliseconds": round(1000 * (time.perf_counter() - started), 2),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vtadl-runtime", description="Score images with an exported detector: one JSON line an image."
    )
    parser.add_argument("--version", action="version", version=f"vtadl {__version__}")
    parser.add_argument("export", type=Path, metavar="EXPORT", help="folder that vtadl export wrote")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        help="threads of the model (default: VTADL_THREADS, else all it may use)",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 on")
    return int(text)
