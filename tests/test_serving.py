"""The programs of docs/python.md: threads, processes, gunicorn and Celery give the scores that one thread gives."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import vtadl
from helpers.categories import good_image, make_category
from vtadl.cli import main

PAGE = Path(__file__).resolve().parents[1] / "docs/python.md"
WAIT = 90


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the page's programs, a run and an image; and the score."""
    root = tmp_path_factory.mktemp("serving")
    make_category(root / "parts")
    out = str(root / "runs/parts")
    assert (
        main(["train", str(root / "parts"), "--out", out, "--preset", "gaussian", "--set", "model.image_size=64"]) == 0
    )
    (root / "new").mkdir()
    Image.fromarray(good_image(300)).save(root / "new/000.png")
    for name, program in re.findall(r'```py title="(\w+\.py)"\n(.*?)```', PAGE.read_text(), re.DOTALL):
        (root / name).write_text(program)
    return root, vtadl.load(out).predict(root / "new/000.png").score


def began(root, *command):
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


FORKED = """
import os, sys, torch, vtadl
torch.set_num_threads(2)
torch.rand(500, 500) @ torch.rand(500, 500)
detector = vtadl.load("runs/parts")
child = os.fork()
if child == 0:
    print(detector.predict("new/000.png").score, vtadl.load("runs/parts").predict("new/000.png").score, flush=True)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


def test_what_computed_before_a_fork_leaves_no_process_waiting(place):
    root, score = place
    program = began(root, "-c", FORKED)
    try:
        said, _ = program.communicate(timeout=WAIT)
    finally:
        program.kill()
    assert program.returncode == 0, said
    assert [float(one) for one in said.split()] == pytest.approx([score, score], rel=1e-5)


def test_the_page_has_the_programs_that_are_tried(place):
    assert {path.name for path in place[0].glob("*.py")} == {"threads.py", "processes.py", "wsgi.py", "tasks.py"}


@pytest.mark.parametrize("program", ["threads.py", "processes.py"])
def test_threads_and_processes_give_the_same_scores(place, program):
    root, score = place
    said, _ = began(root, program).communicate(timeout=WAIT)
    assert [float(line) for line in said.split()] == [score] * 16


def test_gunicorn(place):
    pytest.importorskip("gunicorn")
    root, score = place
    server = began(root, "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:0", "wsgi:application")
    port = next(int(found[1]) for line in server.stdout if (found := re.search(r"Listening at: \S+:(\d+)", line)))
    try:
        content = (root / "new/000.png").read_bytes()
        for _ in range(6):
            status, said = answer(port, content)
            assert (status, json.loads(said)["score"]) == (200, score), said
        status, said = answer(port, b"nothing")
        assert status == 400 and b"is not an image" in said
    finally:
        server.terminate()
        server.communicate(timeout=WAIT)


def answer(port, content):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    connection.request("POST", "/", content)
    response = connection.getresponse()
    status, said = response.status, response.read()
    connection.close()
    return status, said


@pytest.mark.slow
def test_celery(place):
    pytest.importorskip("celery")
    root, score = place
    for name in ("queue", "results"):
        (root / name).mkdir()
    worker = began(root, "-m", "celery", "--app", "tasks", "worker", "--concurrency", "2", "--loglevel", "ERROR")
    ask = "import tasks; print(*[r.get(timeout=80) for r in [tasks.score.delay('new/000.png') for _ in range(4)]])"
    try:
        said, _ = began(root, "-c", ask).communicate(timeout=WAIT)
        assert [float(word) for word in said.split()] == [score] * 4
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=WAIT)
