"""Nothing that was acknowledged is lost, whatever ends the server: real processes, really killed."""

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

from helpers.server_client import DEFECTIVE, GOOD
from helpers.server_process import ForkedServer, ServerProcess, check_nothing_lost, kill_under_load, post, request


def test_kill_9_under_load(run_folder, tmp_path):
    server = ServerProcess(tmp_path / "data", [run_folder], "--workers", "1")
    try:
        acknowledged = kill_under_load(server, kills=1, seconds=(0.5, 0.5))
        assert acknowledged
        check_nothing_lost(server, acknowledged)
    finally:
        code = server.stop(signal.SIGTERM)
    assert code == 0


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_kill_9_at_many_moments(export_folder, tmp_path, kills):
    server = ForkedServer(tmp_path / "data", [export_folder], "--workers", "0")
    try:
        acknowledged = kill_under_load(server, kills=kills, seconds=(0.0, 0.5), seed=1)
        assert len(acknowledged) >= kills // 2
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_507_and_goes_on_when_there_is_room(export_folder, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(disk)], check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    server = ForkedServer(disk / "data", [export_folder], "--workers", "0")
    try:
        server.start()
        acknowledged = {"first": post(server.url, GOOD, "first")}
        # All but some tens of kilobytes: a request may find room for its picture, and none for its row.
        ballast = disk / "ballast"
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            file.write(bytes(shutil.disk_usage(disk).free - 100_000))
        statuses = set()
        for number in range(40):
            status, answer = request(server.url, DEFECTIVE, f"full-{number}")
            statuses.add(status)
            if status == 201:
                acknowledged[f"full-{number}"] = answer["inspections"][0]
        assert statuses == {201, 507} or statuses == {507}
        ballast.unlink()
        acknowledged["last"] = post(server.url, GOOD, "last")
        assert acknowledged["last"]
        check_nothing_lost(server, acknowledged)
        server.kill()
        server.start()
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_takes_the_workers_too(export_folder, tmp_path):
    server = ServerProcess(tmp_path / "data", [export_folder], "--workers", "2")
    try:
        acknowledged = kill_under_load(server, kills=10, seconds=(0.0, 2.0), seed=3)
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()
