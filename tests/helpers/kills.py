"""Commands that are killed at any moment and given again: what must come of them is what comes of them undisturbed.

Commands run in forks of the process that calls `tries`, which must be a fork itself: see `helpers.forks`.
"""

import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.categories import good_image, make_category
from helpers.forks import ended, fork, print_into
from vtadl.cli import main

PATIENCE = 120
SMALL = ("--set", "model.image_size=64")
TINY = (
    *("model.image_size=32", "model.patch_size=8", "model.width=16", "model.depth=1", "model.heads=2"),
    *("model.mlp_width=16", "model.mixtures=2", "training.batch_size=4", "training.checkpoint_every=2"),
    "training.steps=40",
)
_TIMES = ("milliseconds", "scored_at", "created", "date", "timing", "seconds", "training_seconds", "at")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command, what is there before it, and what it makes."""

    arguments: tuple[str, ...]
    """``{}`` stands for the folder."""
    result: Callable[[Path], Any]
    endless: Callable[[Path], bool] | None = None
    """Of a command that does not end: whether it has done all there is."""
    copied: tuple[str, ...] = ()
    """What it changes, and so needs a copy of its own."""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(folder: Path) -> Any:
    lines = [json.loads(line) for line in _lines(folder / "run/log.jsonl")]
    return _digest(folder / "run/weights.safetensors"), [_timeless(line) for line in lines]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if not any(word in key for word in _TIMES)}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _rows(folder: Path) -> Any:
    rows = [_timeless(json.loads(line)) for line in _lines(folder / "out/predictions.jsonl")]
    pictures = {path.name: _digest(path) for path in sorted((folder / "out").rglob("*.tiff"))}
    for row in rows:
        row["file"] = Path(row["file"]).name
        row.pop("identity", None)
    return sorted(rows, key=lambda row: row["file"]), pictures


def _table(folder: Path) -> Any:
    return [_timeless(cell) for cell in json.loads((folder / "out/table.json").read_text())]


def _exported(folder: Path) -> Any:
    manifest = json.loads((folder / "out/manifest.json").read_text())
    return _timeless({name: value for name, value in manifest.items() if name != "agreement"})


IMAGES = 10
CASES = {
    "train": Case(
        arguments=(
            *("train", "{}/parts", "--out", "{}/run", "--resume", "--preset", "paper"),
            *(word for setting in TINY for word in ("--set", setting)),
        ),
        result=_weights,
    ),
    "train at once": Case(
        arguments=("train", "{}/parts", "--out", "{}/run", "--resume", "--preset", "gaussian", *SMALL), result=_weights
    ),
    "calibrate": Case(
        arguments=("calibrate", "{}/made", "--false-reject-rate", "0.5"),
        result=lambda folder: _timeless(json.loads((folder / "made/card.json").read_text())),
        copied=("made",),
    ),
    "predict": Case(arguments=("predict", "{}/made", "{}/new", "--out", "{}/out"), result=_rows),
    "watch": Case(
        arguments=("predict", "{}/made", "{}/new", "--out", "{}/out", "--watch", "--no-overlays"),
        result=_rows,
        endless=lambda folder: len(_lines(folder / "out/predictions.jsonl")) >= IMAGES,
    ),
    "compare": Case(arguments=("compare", "{}/sets", "--out", "{}/out", "--preset", "gaussian", *SMALL), result=_table),
    "export": Case(arguments=("export", "{}/made", "--to", "onnx", "--out", "{}/out"), result=_exported),
}


def make_all(root: Path) -> None:
    """What the commands need."""
    make_category(root / "parts", train=12, good=2, defective=2)
    for name in ("a", "b"):
        make_category(root / "sets" / name, train=5, good=2, defective=2)
    (root / "new").mkdir()
    for number in range(IMAGES):
        Image.fromarray(good_image(600 + number)).save(root / f"new/{number}.png")
    made = ("train", str(root / "parts"), "--out", str(root / "made"), "--preset", "gaussian", *SMALL)
    assert ended(_forked(list(made), root / "made.txt")) == 0, (root / "made.txt").read_text()


def _forked(arguments: list[str], said: Path) -> int:
    return fork(partial(_command, arguments, said))


def _command(arguments: list[str], said: Path) -> int:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives this process
    print_into(said)
    return main(arguments)


def _is_running(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _fresh(root: Path, case: Case) -> Path:
    """A folder for one try, with copies of what the command changes and links to the rest."""
    folder = root / "try"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in root.iterdir():
        if path.name in case.copied:
            shutil.copytree(path, folder / path.name)
        elif path.name in ("parts", "sets", "new", "made"):
            (folder / path.name).symlink_to(path)
    return folder


def _to_its_end(case: Case, folder: Path) -> int:
    """The command's exit code; of an endless one, after it has done all there is."""
    child = _forked([word.replace("{}", str(folder)) for word in case.arguments], folder / "said.txt")
    until = time.monotonic() + PATIENCE
    if case.endless is not None:
        while not case.endless(folder) and _is_running(child) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(child, signal.SIGTERM)
    return ended(child)


def tries(root: Path, name: str, kills: int, seed: int, number: int) -> list[dict[str, Any]]:
    """Kill a command so many times by a signal, each time from the beginning, and let it be given again.

    Returns for each: after how many seconds, the code that the killed command ended with, the code of the one that
    continued, what was said, and whether the result is that of an undisturbed command.
    """
    return list(_tries(root, name, kills, seed, number))


def _tries(root: Path, name: str, kills: int, seed: int, number: int) -> Iterator[dict[str, Any]]:
    case, rng = CASES[name], np.random.default_rng([seed, *name.encode()])
    folder = _fresh(root, case)
    started = time.monotonic()
    assert _to_its_end(case, folder) == 0, (folder / "said.txt").read_text()
    takes, expected = time.monotonic() - started, case.result(folder)
    for _ in range(kills):
        folder = _fresh(root, case)
        child = _forked([word.replace("{}", str(folder)) for word in case.arguments], folder / "said.txt")
        delay = float(rng.uniform(0, takes))
        until = time.monotonic() + delay
        while time.monotonic() < until and _is_running(child):
            time.sleep(0.001)
        if _is_running(child):
            os.kill(child, number)
        killed, said = ended(child), (folder / "said.txt").read_text()
        # What ended in time is done; what was killed after its last word is refused as done already.
        code = 0 if killed == 0 and case.endless is None else _to_its_end(case, folder)
        after = "" if code == 0 else (folder / "said.txt").read_text()
        equal = case.result(folder) == expected
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        yield {
            **{"case": name, "after": round(delay, 3), "killed": killed, "code": code},
            **{"equal": equal, "said": said[-600:], "then": after[-600:], "left": left},
        }
