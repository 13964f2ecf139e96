"""Threads: as many as the process may use, or as the user says, and asleep while they wait."""

import os
import subprocess
import sys

import pytest
import torch

from vtadl import threads
from vtadl.cli import main
from vtadl.errors import ConfigError
from vtadl.threads import cpu_quota, thread_count, usable_cores, use_threads


@pytest.fixture
def mount(tmp_path):
    """Writes cgroup files: `/proc/self/cgroup`, and what is mounted."""

    def write(cgroups, **files):
        (tmp_path / "cgroup").write_text(cgroups)
        for name, content in files.items():
            path = tmp_path / "mount" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path / "cgroup", tmp_path / "mount"

    return write


@pytest.mark.parametrize(
    ("cgroups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        # The least of a group and those around it.
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "800000 100000"}, 3.0),
        # A container that sees its own files at the root, and its path as it is outside.
        ("0::/docker/1f\n", {"cpu.max": "50000 100000"}, 0.5),
        (
            "4:memory:/a\n3:cpu,cpuacct:/a/b\n0::/\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000\n"}, None),
        ("2:cpuset:/\n", {"cpu.max": "100000 100000"}, None),
        ("nonsense\n", {"cpu.max": "? ?"}, None),
    ],
)
def test_the_least_quota_counts(mount, cgroups, files, cores):
    assert cpu_quota(*mount(cgroups, **files)) == cores


def test_no_cgroups_are_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [("150000", 2), ("200000", 2), ("5000", 1), ("900000", 4), ("max", 4)])
def test_a_quota_is_rounded_up_and_bounded_by_the_cores(mount, monkeypatch, quota, cores):
    cgroups, mounted = mount("0::/\n", **{"cpu.max": f"{quota} 100000"})
    monkeypatch.setattr(threads, "CGROUPS", cgroups)
    monkeypatch.setattr(threads, "MOUNT", mounted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert usable_cores() == cores


@pytest.mark.parametrize(
    ("ours", "openmp", "count"), [("3", "7", 3), (None, "7", 7), (None, "5,2", 5), (None, "none", 4), (None, None, 4)]
)
def test_the_users_word_comes_first(monkeypatch, ours, openmp, count):
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    for name, value in (("VTADL_THREADS", ours), ("OMP_NUM_THREADS", openmp)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert thread_count() == count


@pytest.fixture
def torch_threads(monkeypatch):
    """What torch was told, and the environment of before afterwards."""
    told = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setenv("VTADL_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return told


def test_torch_is_told_where_it_is_loaded_already(torch_threads):
    use_threads(3)
    assert torch_threads == [3] and os.environ["VTADL_THREADS"] == os.environ["OMP_NUM_THREADS"] == "3"


def test_a_torch_that_somebody_loaded_keeps_its_number(torch_threads, monkeypatch):
    monkeypatch.delenv("VTADL_THREADS")
    use_threads()
    assert torch_threads == []


@pytest.mark.parametrize(("arguments", "count"), [([], 1), (["--threads", "2"], 2)])
def test_commands_take_a_number(torch_threads, capsys, arguments, count):
    assert main(["presets", *arguments]) == 0
    assert torch_threads == [count]


def test_a_number_that_cannot_be_is_a_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setenv("VTADL_THREADS", "all")
    assert main(["presets"]) == 2
    assert capsys.readouterr().err == "vtadl: VTADL_THREADS is 'all'; expected a whole number from 1 on\n"
    with pytest.raises(ConfigError, match="VTADL_THREADS is 'all'"):
        thread_count()
    with pytest.raises(SystemExit, match="2"):
        main(["presets", "--threads", "0"])
    assert "expected a whole number from 1 on; got '0'" in capsys.readouterr().err


def python(code, **variables):
    """What code prints, on either stream, in an environment without a word on threads but these."""
    environment = {name: value for name, value in os.environ.items() if name.split("_")[0] not in ("OMP", "VTADL")}
    environment |= variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_a_core_uses_one_thread():
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{core}}}); from vtadl.threads import thread_count; print(thread_count())"
    )
    assert python(code) == "1\n"


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise():
    """As OpenMP itself says when torch loads it."""
    found = python(
        "import vtadl; vtadl.load; import torch; print(torch.get_num_threads())",
        OMP_DISPLAY_ENV="TRUE",
        VTADL_THREADS="1",
    )
    assert found.startswith("1\n")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in found and "OMP_NUM_THREADS = '1'" in found
    code = "import vtadl, os; print(os.environ['OMP_WAIT_POLICY'])"
    assert python(code, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE\n"
