"""`vtadl serve` on the command line, and every command of its document."""

import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import uvicorn

from helpers.server_client import NAME
from vtadl.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs/server.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path, monkeypatch, run_folder):
    """A folder with a run, in which serving ends as soon as it would begin to listen."""
    shutil.copytree(run_folder, tmp_path / "runs" / NAME)
    shutil.copytree(run_folder, tmp_path / "vtadl-demo/runs" / NAME)
    (tmp_path / "camera").mkdir()
    monkeypatch.setattr(uvicorn.Server, "run", lambda self: setattr(self, "started", True))
    monkeypatch.setattr(uvicorn.Config, "load", lambda self: None)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_of_the_document_runs(workplace, client):
    lines = [line for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL) for line in block.splitlines()]
    assert len(lines) > 8
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "curl":
            path = re.search(r"http://[^/]+(\S+)", line)[1].replace(f"/{NAME}/", "/{name}/")
            assert path in client.app.openapi()["paths"]
        elif arguments != ["demo"]:
            assert program == "vtadl" and main(arguments) == 0, line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "no detector at 'nowhere'"),
        (["--demo", "runs/demo"], 1, "make it with: vtadl demo --out runs/demo"),
        (["runs/parts", "--host", "0.0.0.0"], 2, "without a token"),
        ([], 2, "name a detector"),
        (["token", "add", "x"], 2, "expected token add NAME"),
        (["token", "add", "x", "--role", "king"], 2, "choose from: operator, engineer, admin"),
        (["token", "remove", "x"], 2, "there is no token 'x'"),
        (["runs/parts", "--tls-cert", "a.pem"], 2, "go together"),
        (["runs/parts", "--database", "mysql://x"], 2, "expected postgresql+psycopg"),
        (["runs/parts", "--watch", "nowhere"], 1, "there is no folder 'nowhere'"),
        (["runs/parts", "--data", "runs/parts/run.json"], 1, "cannot write to"),
        (["--backup", "x.tar"], 1, "SQLite"),
        (["--restore", "camera"], 1, "cannot restore"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(workplace, capsys, arguments, code, message):
    assert main(["serve", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_the_unit_is_one(tmp_path):
    unit = tmp_path / "vtadl.service"
    text = (ROOT / "deploy/vtadl.service").read_text().replace("/opt/vtadl/bin/vtadl", "/bin/true")
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert "vtadl.service" not in done.stderr, done.stderr
