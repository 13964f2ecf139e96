"""What a killed process left beside a folder is removed by the next that writes it; a living one's is not touched."""

import os
import signal
import subprocess
import sys

import pytest

from vtadl.runs import ownership
from vtadl.runs.folders import new_folder

WRITER = """
import sys, time
from pathlib import Path
from vtadl.runs.folders import new_folder
with new_folder(Path(sys.argv[1])) as partial:
    (partial / "half").write_text("...")
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writers(tmp_path):
    """Starts processes that write a folder and never end; each is killed at last."""
    started = []

    def start(name="runs/parts"):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / name)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"writing\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_kill_left_is_removed_by_the_next_that_writes_the_folder(tmp_path, writers):
    runs = tmp_path / "runs"
    killed, alive, other = writers(), writers(), writers("runs/other")
    for process in (killed, other):
        os.kill(process.pid, signal.SIGKILL)  # not waited for: a zombie is gone as well
    assert killed.wait() == -signal.SIGKILL
    left = hidden(runs)
    assert len(left) == 3
    (runs / ".parts.partial-of-an-earlier-version").mkdir()
    foreign = f".parts.partial-00000000-{killed.pid}-1-abcdefgh"
    (runs / foreign).mkdir()
    with new_folder(runs / "parts") as partial:
        assert partial.name in hidden(runs)
        (partial / "whole").write_text("...")
    assert [path.name for path in (runs / "parts").iterdir()] == ["whole"]
    rest = hidden(runs)
    assert [name for name in rest if f"-{alive.pid}-" in name and (runs / name / "half").exists()]
    assert not [name for name in rest if f"-{killed.pid}-" in name and name != foreign]
    # Another folder's is left to whoever writes that one; what is not known to be ours, or of this host, is kept.
    assert len(rest) == 4 and foreign in rest and ".parts.partial-of-an-earlier-version" in rest


def test_what_was_replaced_when_a_kill_came_is_removed_too(tmp_path, writers):
    killed = writers()
    killed.kill()
    killed.wait()
    (left,) = hidden(tmp_path / "runs")
    (tmp_path / "runs" / left).rename(tmp_path / "runs" / left.replace(".partial-", ".old-"))
    with pytest.raises(RuntimeError), new_folder(tmp_path / "runs/parts"):
        raise RuntimeError
    assert len(hidden(tmp_path / "runs")) == 1  # kept until another stands in its place
    with new_folder(tmp_path / "runs/parts"):
        pass
    assert hidden(tmp_path / "runs") == []


def test_a_later_process_of_the_same_number_is_another(monkeypatch):
    assert not ownership.is_abandoned(ownership.owner_mark())
    mark = ownership.owner_mark()
    monkeypatch.setattr(ownership, "_started", lambda pid: "1")
    assert ownership.is_abandoned(mark)
    assert not ownership.is_abandoned("nothing of ours")
