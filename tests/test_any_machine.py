"""The same on every machine: no home, nothing writable but what a command names, a full disk, a clock that jumps, eight
threads and eight processes on one run, and a run that is copied meanwhile."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

import vtadl
from helpers.categories import good_image, make_category
from vtadl.cli import main
from vtadl.data import cached_embeddings as embeddings
from vtadl.errors import BundleError, TrainingError

SETTINGS = ("--preset", "gaussian", "--set", "model.image_size=64")

AUDITED = """
import os, sys
allowed = tuple(os.path.realpath(path) for path in sys.argv[1].split(os.pathsep))
def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        if not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return
    elif event not in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"):
        return
    path = os.path.realpath(os.fsdecode(arguments[0])) if isinstance(arguments[0], (str, bytes)) else None
    if path is not None and not path.startswith(("/dev/", *allowed)):
        os.write(2, f"WROTE {path}\\n".encode())
        os._exit(77)
sys.addaudithook(audit)
sys.dont_write_bytecode = True
sys.argv = ["vtadl", *sys.argv[2:]]
from vtadl.cli import main
sys.exit(main())
"""
"""Ends at the first write outside some folders, as a disk mounted read-only there would."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("machine")
    make_category(root / "parts")
    assert main(["train", str(root / "parts"), "--out", str(root / "run"), *SETTINGS]) == 0
    (root / "new").mkdir()
    for number in range(6):
        Image.fromarray(good_image(700 + number)).save(root / f"new/{number}.png")
    return root


@pytest.mark.parametrize(
    "home",
    [
        pytest.param(None, marks=pytest.mark.slow, id="no home"),
        pytest.param("/proc/1/nowhere", id="a home that cannot be written"),
    ],
)
def test_nothing_is_written_but_where_a_command_says(place, home, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    hidden = ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "TORCH_HOME", "HF_HOME")
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    variables |= {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1", **({"HOME": home} if home else {})}
    out = tmp_path / "out"
    commands = [
        ["train", place / "parts", "--out", out / "run", *SETTINGS],
        ["calibrate", out / "run", "--false-reject-rate", "0.5"],
        ["predict", out / "run", place / "new", "--out", out / "found"],
    ]
    if home is not None:
        commands = [["predict", place / "run", place / "new"], ["eval", place / "run", place / "parts"]]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-c", AUDITED, os.pathsep.join((str(out), str(scratch))), *map(str, command)],
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
    assert list(scratch.iterdir()) == []


class TestATemporaryFolder:
    def room(self):
        return embeddings._room((4, 8, 2, 2), torch.device("cpu"), kept_bytes=0)

    def test_that_has_room_is_used(self):
        assert self.room().shape == (4, 8, 2, 2)

    def test_that_is_full_is_named_with_the_way_out(self, monkeypatch, tmp_path):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

        def full(handle, offset, size):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(
            TrainingError, match=rf"'{tmp_path}': No space left on device; make room there, or set TMPDIR"
        ):
            self.room()
        assert list(tmp_path.iterdir()) == []

    def test_that_is_none_is_an_error_of_a_line(self, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", "/proc/1/nowhere")
        with pytest.raises(TrainingError, match=r"nowhere.*; make room there, or set TMPDIR"):
            self.room()

    def test_is_not_needed_for_a_training_that_fits_in_memory(self, place, monkeypatch, tmp_path):
        monkeypatch.setattr(tempfile, "tempdir", "/proc/1/nowhere")
        assert main(["train", str(place / "parts"), "--out", str(tmp_path / "run"), *SETTINGS]) == 0


def test_a_clock_that_jumps_back_changes_nothing(place, monkeypatch, tmp_path):
    """Files from the future, rows from the future, and an hour that comes twice."""
    new = tmp_path / "new"
    shutil.copytree(place / "new", new)
    later = time.time() + 10 * 365 * 24 * 3600
    for path in new.iterdir():
        os.utime(path, (later, later))
    command = ["predict", str(place / "run"), str(new), "--out", str(tmp_path / "found")]
    assert main(command) == 0
    state = tmp_path / "found/inspection.json"
    state.write_text(state.read_text().replace('"finished": true', '"finished": false'))  # as a kill leaves it
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - 3600)
    Image.fromarray(good_image(800)).save(new / "late.png")
    os.utime(new / "late.png", (1, 1))
    assert main(command) == 0
    rows = [json.loads(line) for line in (tmp_path / "found/predictions.jsonl").read_text().splitlines()]
    assert sorted(Path(row["file"]).name for row in rows) == sorted(path.name for path in new.iterdir())


def test_eight_threads_load_and_score_one_run(place):
    files = sorted((place / "new").iterdir())
    expected = [vtadl.load(place / "run").predict(file).score for file in files]
    detector = vtadl.load(place / "run")
    with ThreadPoolExecutor(8) as pool:
        shared = list(pool.map(lambda n: [detector.predict(file).score for file in files], range(8)))
        own = list(pool.map(lambda n: [vtadl.load(place / "run").predict(file).score for file in files], range(8)))
    assert shared == own == [expected] * 8


@pytest.mark.slow
def test_eight_processes_score_one_run(place, tmp_path):
    begin = [sys.executable, "-m", "vtadl", "predict", str(place / "run"), str(place / "new"), "--out"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    own = [subprocess.Popen([*begin, str(tmp_path / f"out{n}")], env=variables, **said) for n in range(4)]
    # The other four want the same folder: one of them gets it, and the others are told.
    same = [subprocess.Popen([*begin, str(tmp_path / "out")], env=variables, **said) for _ in range(4)]
    words = [process.communicate()[0].decode() for process in same]
    assert [process.communicate() and process.returncode for process in own] == [0] * 4
    assert [process.returncode for process in same].count(0) == 1, words
    assert all("Traceback" not in one for one in words), words
    scores = [scores_of(tmp_path / name) for name in ("out", *(f"out{n}" for n in range(4)))]
    assert len(scores[0]) == 6 and scores == [scores[0]] * 5


def scores_of(folder):
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    return {Path(row["file"]).name: row["score"] for row in rows}


def test_a_run_is_read_while_it_is_copied_and_half_a_copy_is_refused(place, tmp_path):
    expected = vtadl.load(place / "run").predict(place / "new/0.png").score
    copied = threading.Event()

    def copy():
        for number in range(20):
            shutil.copytree(place / "run", tmp_path / f"copy{number}")
        copied.set()

    copying = threading.Thread(target=copy)
    copying.start()
    while not copied.is_set():
        assert vtadl.load(place / "run").predict(place / "new/0.png").score == expected
    copying.join()
    assert vtadl.load(tmp_path / "copy19").predict(place / "new/0.png").score == expected
    for path in sorted((place / "run").iterdir()):
        half = tmp_path / "half"
        shutil.copytree(place / "run", half)
        content = path.read_bytes()
        for kept in (content[: len(content) // 2], None):
            (half / path.name).unlink()
            if kept is not None:
                (half / path.name).write_bytes(kept)
            try:
                found = vtadl.load(half).predict(place / "new/0.png").score
            except BundleError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017 - either is right, but nothing in between
            else:
                assert found == expected, path.name
        shutil.rmtree(half)
