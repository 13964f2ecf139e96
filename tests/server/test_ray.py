"""The models as a deployment of Ray Serve, on a cluster of this machine."""

import os
import signal
import subprocess

import pytest

from helpers.server_client import DEFECTIVE, GOOD
from helpers.server_process import ServerProcess, post
from vtadl.cli import main

pytest.importorskip("ray.serve", reason="Ray Serve is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_server_scores_on_a_local_cluster(export_folder, tmp_path):
    server = ServerProcess(tmp_path / "data", [export_folder], "--ray", "local")
    server.start(seconds=300)
    try:
        verdicts = [post(server.url, content, f"k{n}")["verdict"] for n, content in enumerate((GOOD, DEFECTIVE) * 3)]
        assert verdicts == ["good", "defective"] * 3
        replicas = subprocess.run(["pgrep", "-f", "ServeReplica"], capture_output=True, text=True).stdout.split()
        assert replicas
        for pid in replicas:
            os.kill(int(pid), signal.SIGKILL)
        # Ray starts another; until it has, an inspection may be refused, and is sent again under its key.
        answers = [post(server.url, DEFECTIVE, "again") for _ in range(3)]
        assert [one for one in answers if one][-1]["verdict"] == "defective"
    finally:
        assert server.stop(signal.SIGTERM) == 0


def test_no_cluster_is_said_in_a_line(export_folder, tmp_path, capsys):
    data = str(tmp_path / "data")
    assert main(["serve", str(export_folder), "--data", data, "--ray", "127.0.0.1:9"]) == 2
    error = capsys.readouterr().err
    assert "no Ray cluster at '127.0.0.1:9'" in error and error.count("\n") == 1
