"""Nothing that was acknowledged is lost, whatever ends the server: real processes, really killed."""

import signal

import pytest

from helpers.server_process import ServerProcess, check_nothing_lost, kill_under_load


def test_kill_9_under_load(run_folder, tmp_path):
    server = ServerProcess(tmp_path / "data", [run_folder], "--workers", "1")
    try:
        acknowledged = kill_under_load(server, kills=1, seconds=(0.5, 0.5))
        assert acknowledged
        check_nothing_lost(server, acknowledged)
    finally:
        code = server.stop(signal.SIGTERM)
    assert code == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_kill_9_at_200_moments(export_folder, tmp_path, workers):
    server = ServerProcess(tmp_path / "data", [export_folder], "--workers", workers)
    try:
        acknowledged = kill_under_load(server, kills=100, seconds=(0.0, 2.0), seed=1)
        assert len(acknowledged) > 100
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()
