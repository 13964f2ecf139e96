"""An engineer with 60 photos of good parts and a line to look at: three commands, each at the first try."""

import json

import pytest
from PIL import Image

from helpers.categories import defective_image, good_image
from vtadl.cli import main

SMALL = ["--preset", "gaussian", "--set", "model.image_size=64"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    for name, make, seeds in (
        ("parts", good_image, range(60)),
        ("line", good_image, range(100, 103)),
        ("line", lambda seed: defective_image(seed)[0], range(200, 203)),
    ):
        (folder / name).mkdir(exist_ok=True)
        for seed in seeds:
            Image.fromarray(make(seed)).save(folder / name / f"{seed}.png")
    return folder


@pytest.fixture
def bench(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("parts", "line"):
        (tmp_path / name).symlink_to(photos / name)
    return tmp_path


def verdicts(lines):
    return {line.split()[-1].removeprefix("line/"): line.split()[0] for line in lines}


EXPECTED = {
    **{f"{seed}.png": "good" for seed in range(100, 103)},
    **{f"{seed}.png": "defective" for seed in range(200, 203)},
}


def test_three_commands_from_photos_to_verdicts(bench, capsys):
    assert main(["train", "parts", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "14.3 % by those alone, 1.7 % cross-fitted" in out
    command = out.splitlines()[-1].removeprefix("next: vtadl ").split()
    assert command == ["calibrate", "runs/parts"]

    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "6 held out, 54 cross-fit" in out and "promise     approximate" in out
    assert "cross-fitting 54 images took" in err

    assert main(["predict", "runs/parts", "line"]) == 0
    *rows, summary, _ = capsys.readouterr().out.splitlines()
    assert verdicts(rows) == EXPECTED
    assert summary.startswith("3 defective, 3 good, 0 unreadable; highest ")
    assert sorted(path.name for path in bench.iterdir()) == ["line", "parts", "runs"]


def test_two_commands_and_pictures(bench, capsys):
    assert main(["train", "parts", "--calibrate", "--quiet", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "defective         above" in out
    assert main(["predict", "runs/parts", "line", "--out", "verdicts"]) == 0
    rows = [json.loads(line) for line in (bench / "verdicts/predictions.jsonl").read_text().splitlines()]
    assert {row["file"].removeprefix("line/"): row["verdict"] for row in rows} == EXPECTED
    assert all((bench / "verdicts" / row["overlay"]).exists() for row in rows)
