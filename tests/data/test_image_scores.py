"""Image scores from a file: which image each is of, and what is refused in a line that names the file's line."""

import math
from pathlib import Path

import pytest

from vtadl.data.image_scores import check_complete, read_scores
from vtadl.errors import DataError

ROOT = Path("/sets/parts")
IMAGES = {name: ROOT / name for name in ("test/good/000.png", "test/cut/000.png", "test/cut/001.jpg")}
EXPECTED = {"test/good/000.png": 0.25, "test/cut/000.png": -1e-30, "test/cut/001.jpg": math.inf}


def read(tmp_path, text):
    file = tmp_path / "scores"
    file.write_text(text, encoding="utf-8")
    return read_scores(file, IMAGES)


@pytest.mark.parametrize(
    "text",
    [
        "file,score\ntest/good/000.png,0.25\ntest/cut/000.png,-1e-30\n001.jpg,inf\n",
        "\ufeffverdict;score;image\ngood;0.25;good/000.png\nbad;-1e-30;cut/000.png\n;inf;./test/cut/001.jpg\n",
        "test/good/000.png\t0.25\n/sets/parts/test/cut/000.png\t-1e-30\n\n001.jpg\tinf",
        '{"file": "test/good/000.png", "score": 0.25, "regions": []}\n\n{"file": "cut/000.png", "score": -1e-30}\n'
        '{"path": "001.jpg", "score": Infinity}',
        '{"good/000.png": 0.25}\n{"cut/000.png": -1e-30, "001.jpg": "inf"}\n',
    ],
    ids=["csv", "semicolons, other columns and a mark", "no head", "json lines", "names as keys"],
)
def test_names_and_scores_are_read(tmp_path, text):
    assert read(tmp_path, text) == EXPECTED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,score\n000.png,1\n", "line 2: '000.png' may be 'test/cut/000.png' and 'test/good/000.png'; name images"),
        ("file,score\nx/y.png,1\n", "line 2: 'x/y.png' is no test image of the category; expected such as 'test/good"),
        ("other/test/good/000.png,1\n", "line 1: 'other/test/good/000.png' is no test image"),
        ("001.jpg,1\ncut/001.jpg,1\n", "line 2: 'test/cut/001.jpg' has a score already; keep one"),
        ("001.jpg,nan\n", "line 1: the score of '001.jpg' is nan; expected a number, larger for more abnormal"),
        ("file,score\n001.jpg,high\n", "line 2: the score of '001.jpg' is high; expected a number"),
        ("file,score\n001.jpg\n", "line 2: the score of '001.jpg' is empty; expected a number"),
        ('{"file": "001.jpg", "score": NaN}', "line 1: the score of '001.jpg' is nan"),
        ('{"file": "001.jpg", "score": true}', "line 1: the score of '001.jpg' is True"),
        ('{"file": "001.jpg", "error": "unreadable"}', "line 1: the score of '001.jpg' is empty"),
        ('{"001.jpg": 1}\n[1]', 'line 2 is no object, such as {"file": "a.png", "score": 1.5}'),
        ('{"001.jpg": 1', 'line 1 is no JSON, such as {"file": '),
        ("a,b,c\n", "has columns a,b,c; expected file,score"),
        ("", "has no score of 'test/good/000.png'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path, text, words):
    with pytest.raises(DataError) as error:
        check_complete(tmp_path / "scores", read(tmp_path, text), list(IMAGES))
    message = str(error.value)
    assert f"'{tmp_path / 'scores'}'" in message and words in message


def test_an_image_without_a_score_is_named(tmp_path):
    found = read(tmp_path, "001.jpg,1\n")
    with pytest.raises(DataError, match=r"no score of 'test/good/000\.png' and 1 more test images; give one for each"):
        check_complete(tmp_path / "scores", found, list(IMAGES))
    check_complete(tmp_path / "scores", found, ["test/cut/001.jpg"])


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read '.*gone\.csv': No such file"):
        read_scores(tmp_path / "gone.csv", IMAGES)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="it is not text"):
        read_scores(tmp_path / "bytes.csv", IMAGES)
