"""Frames of a film in their order, of a stream the newest, of what cannot be read an error in a line."""

import http.server
import json
import os
import sys
import threading
import time

import numpy as np
import pytest
import torch

from helpers.categories import defective_image, good_image, make_category
from vtadl.cli import main
from vtadl.errors import DataError
from vtadl.inference import frames
from vtadl.inference.batch import Options
from vtadl.inference.frames import inspect_frames
from vtadl.runs.run import load_run

os.environ.update(frames.QUIET)  # before OpenCV is first used
cv2 = pytest.importorskip("cv2")

DEFECTIVE = (3, 7)
COUNT = 9
NOTHING = Options(overlays=False, maps=False)
CPU = torch.device("cpu")


def picture(number):
    return defective_image(number)[0] if number in DEFECTIVE else good_image(number)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    make_category(root / "parts", train=40)
    small = ["--quiet", "--preset", "gaussian", "--set", "model.image_size=64"]
    assert main(["train", str(root / "parts"), "--out", str(root / "run"), *small]) == 0
    assert main(["calibrate", str(root / "run"), "--false-reject-rate", "0.2", "--quiet"]) == 0
    film = cv2.VideoWriter(str(root / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (72, 72))
    film.set(cv2.VIDEOWRITER_PROP_QUALITY, 100)
    for number in range(COUNT):
        film.write(picture(number)[..., ::-1].copy())
    film.release()
    return root


class Rows:
    folder = None

    def __init__(self, seconds=0.0):
        self.rows, self.seconds = [], seconds

    def add(self, row):
        self.rows.append(row)
        time.sleep(self.seconds)


def test_a_film_gives_a_row_a_frame_with_pictures_and_finds_its_defects(bench, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", str(bench / "run"), "--source", str(bench / "film.avi"), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [row["file"].rpartition("#")[2] for row in rows] == [f"{number:06}" for number in range(COUNT)]
    highest = sorted(range(COUNT), key=lambda number: -rows[number]["score"])
    assert set(highest[:2]) == set(DEFECTIVE)
    assert {rows[number]["verdict"] for number in DEFECTIVE} == {"defective"}
    assert (out / rows[3]["overlay"]).exists() and (out / rows[3]["map"]).exists()
    assert rows[3]["overlay"] == "overlays/film.avi/000003.png"
    assert "defective" in capsys.readouterr().out.splitlines()[-1]


def test_one_frame_of_so_many_is_scored(bench):
    sink = Rows()
    inspect_frames(load_run(bench / "run"), str(bench / "film.avi"), sink, CPU, NOTHING, every=4)
    assert [row["file"][-6:] for row in sink.rows] == ["000000", "000004", "000008"]


def test_colours_come_in_the_order_of_images(bench):
    capture = cv2.VideoCapture(str(bench / "film.avi"))
    shown = [frame.pixels for frame in frames._Film(capture, 1).frames(threading.Event())]
    assert np.abs(shown[3].astype(float) - picture(3)).mean() < 6
    assert shown[3][..., 0].max() > 200 > 120 > shown[3][picture(3)[..., 0] == 230][..., 2].mean()


def test_a_film_that_was_cut_off_resumes_where_it_was(bench, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    command = ["predict", str(bench / "run"), "--source", str(bench / "film.avi"), "--out", str(out), "--no-overlays"]
    scored = frames._scored

    def cut_off(run, frame, path, device):
        if frame.name == "000005":
            raise KeyboardInterrupt
        return scored(run, frame, path, device)

    monkeypatch.setattr(frames, "_scored", cut_off)
    assert main(command) == 130
    monkeypatch.setattr(frames, "_scored", scored)
    assert main(command) == 0
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [row["file"][-6:] for row in rows] == [f"{number:06}" for number in range(COUNT)]
    assert main(command) == 1
    assert "exists already" in capsys.readouterr().err


class Stream(http.server.BaseHTTPRequestHandler):
    """MJPEG over HTTP, as cameras send it, at 50 frames a second."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            cut = getattr(self.server, "cut", threading.Event())
            for number in range(100):
                if cut.is_set():
                    return
                encoded = cv2.imencode(".jpg", picture(number)[..., ::-1].copy())[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(encoded)}\r\n\r\n".encode()
                self.wfile.write(head + encoded + b"\r\n")
                time.sleep(0.02)
        except OSError:
            return

    def log_message(self, *_):
        pass


@pytest.fixture
def stream():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/camera"
    server.shutdown()
    server.server_close()


def test_of_a_stream_the_newest_frame_is_scored_and_the_others_are_counted(bench, stream):
    sink = Rows(seconds=0.3)
    passed_over = inspect_frames(load_run(bench / "run"), stream, sink, CPU, NOTHING, reconnect=0)
    assert 2 <= len(sink.rows) < 50
    assert passed_over > len(sink.rows)
    names = [row["file"].rpartition("#")[2] for row in sink.rows]
    assert names == sorted(set(names))


def test_the_password_of_a_stream_is_written_nowhere(bench, stream, tmp_path, capfd):
    secret = stream.replace("http://", "http://line:pass@word@")
    address = stream.partition("://")[2].partition("/")[0]
    run = load_run(bench / "run")
    sink, stop = Rows(), threading.Event()
    sink.add = lambda row: (sink.rows.append(row), stop.set())
    inspect_frames(run, stream.replace("http://", "http://line:word@"), sink, CPU, NOTHING, stop=stop)
    assert sink.rows[0]["file"].startswith(f"http://{address}/camera#")
    assert frames.without_password(secret) == stream
    assert frames.without_password("a@b://film.mp4") == "a@b://film.mp4"
    out = str(tmp_path / "out")
    assert main(["predict", str(bench / "run"), "--source", "http://line:word@127.0.0.1:9/x", "--out", out]) == 1
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "word" not in written + capfd.readouterr().err


class Camera:
    """A stream that can be cut and come back under the same address."""

    def __init__(self):
        self.server, self.port, self.starts = None, 0, 0
        self.start()

    def start(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Stream)
        self.server.daemon_threads = True
        self.port, self.cut = self.server.server_port, threading.Event()
        self.server.cut = self.cut
        self.starts += 1
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.cut.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def camera():
    camera = Camera()
    yield camera
    if not camera.cut.is_set():
        camera.stop()


@pytest.fixture
def waits(monkeypatch):
    """How long it waits between two tries, a hundred times as fast."""
    waited = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return super().wait(timeout / 100)

    return Stop(), waited


def test_a_stream_that_is_cut_is_tried_again_until_it_comes_back(bench, camera, waits):
    stop, waited = waits
    lines, sink = [], Rows()

    def add(row):
        sink.rows.append(row)
        if len(sink.rows) == 3:
            camera.stop()
        if camera.starts == 2:
            stop.set()

    def say(line):
        lines.append(line)
        threading.Timer(0.05, camera.start).start()

    sink.add = add
    address = f"http://127.0.0.1:{camera.port}/camera"
    secret = address.replace("http://", "http://line:word@")
    inspect_frames(load_run(bench / "run"), secret, sink, CPU, NOTHING, say=say, stop=stop)
    assert lines == [f"'{address}' gives no more frames; trying it again, 10 times in a row"]
    assert waited[:2] == [1.0, 2.0] and len(sink.rows) > 3


def test_a_stream_that_does_not_come_back_ends_in_a_line(bench, camera, waits):
    stop, waited = waits
    lines, sink = [], Rows()
    sink.add = lambda row: (sink.rows.append(row), camera.cut.is_set() or camera.stop())
    address = f"http://127.0.0.1:{camera.port}/camera"
    with pytest.raises(DataError, match=rf"'{address}' did not come back in 7 tries; the same command continues"):
        inspect_frames(load_run(bench / "run"), address, sink, CPU, NOTHING, reconnect=7, say=lines.append, stop=stop)
    assert waited == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert len(lines) == 1 and sink.rows


def test_a_wait_for_a_stream_ends_at_once_when_it_is_told_to(bench, camera):
    stop, sink = threading.Event(), Rows()
    sink.add = lambda row: camera.cut.is_set() or camera.stop()
    address = f"http://127.0.0.1:{camera.port}/camera"
    began = []

    def say(line):
        began.append(time.monotonic())
        threading.Timer(0.1, stop.set).start()

    inspect_frames(load_run(bench / "run"), address, sink, CPU, NOTHING, say=say, stop=stop)
    assert time.monotonic() - began[0] < 1


def test_a_stream_stops_when_it_is_told_to(bench, stream):
    stop = threading.Event()
    sink = Rows()
    sink.add = lambda row: (sink.rows.append(row), stop.set())
    inspect_frames(load_run(bench / "run"), stream, sink, CPU, NOTHING, stop=stop)
    assert len(sink.rows) == 1


def test_what_cannot_be_is_an_error_in_a_line(bench, tmp_path, monkeypatch, capfd):
    run = str(bench / "run")
    (tmp_path / "text.mp4").write_text("no film")
    cases = {
        ("--source", str(tmp_path / "gone.mp4")): (2, "no file"),
        ("--source", str(tmp_path / "text.mp4")): (1, "cannot open"),
        ("--source", "77"): (1, "cannot open '77'"),
        ("--source", str(bench / "film.avi"), "--every", "0"): (2, "--every is 0"),
        ("--source", "http://127.0.0.1:9/x", "--reconnect", "-1"): (2, "--reconnect is -1"),
        ("--source", str(bench / "film.avi"), "--watch"): (2, "--watch and --ray go with folders"),
        ("--source", str(bench / "film.avi"), str(tmp_path)): (2, "--source takes no images beside it"),
    }
    for arguments, (code, words) in cases.items():
        assert main(["predict", run, *arguments]) == code
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1, err
    with pytest.raises(SystemExit, match="2"):
        main(["predict", run])
    assert "required: IMAGE_OR_FOLDER" in capfd.readouterr().err
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["predict", run, "--source", str(bench / "film.avi")]) == 1
    assert "pip install 'vtadl[camera]'" in capfd.readouterr().err
