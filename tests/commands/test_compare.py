"""``vtadl compare`` as a user meets it: what it prints, its exit codes, its errors."""

import json

import pytest

from helpers.categories import make_category
from vtadl.cli import main

SMALL = ["--set", "model.image_size=64", "--device", "cpu"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name in ("brick", "cloth"):
        make_category(folder / name, train=4, good=2, defective=2)
    return folder


def test_it_prints_a_line_a_cell_and_writes_the_table(root, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["compare", str(root), "--out", str(out), "--preset", "gaussian", "--seeds", "0,1", *SMALL]
    assert main(arguments) == 0
    first, error = capsys.readouterr()
    foreseen, left = error.strip().splitlines()
    assert foreseen.startswith("vtadl: 2 cells to do, about ")
    assert left.startswith("vtadl: 1 of 2 cells, about ")
    lines = first.strip().splitlines()
    assert [line.split()[:3] for line in lines[:-1]] == [
        ["done", category, "gaussian"] for category in ("brick", "cloth")
    ]  # nothing in it is random: one cell, whatever the seeds
    assert lines[-1] == f"page: {out / 'comparison.html'}"
    rows = json.loads((out / "table.json").read_text())
    assert [(row["category"], row["seed"], row["objective"]) for row in rows] == [
        (category, 0, None) for category in ("brick", "cloth")
    ]
    assert main(arguments) == 0
    assert capsys.readouterr() == (first, "")


def test_a_failed_cell_makes_the_exit_code_1_and_the_others_are_done(root, tmp_path, capsys):
    make_category(tmp_path / "sets/cloth", train=4, good=2, defective=2)
    broken = make_category(tmp_path / "sets/broken", train=4, good=2, defective=2)
    (broken / "train/good/000.png").write_bytes(b"")
    out = tmp_path / "out"
    assert main(["compare", str(tmp_path / "sets"), "--out", str(out), "--preset", "gaussian", *SMALL]) == 1
    assert "1 of 2 cells failed" in capsys.readouterr().out
    rows = {row["category"]: row for row in json.loads((out / "table.json").read_text())}
    assert rows["cloth"]["status"] == "done"
    assert rows["broken"]["status"] == "failed"
    assert "000.png" in rows["broken"]["error"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset", "nope"], 2, "unknown preset 'nope'"),
        (["--objective", "mse + nope"], 2, "unknown term 'nope'"),
        (["--preset", "gaussian", "--objective", "mse"], 2, "takes an objective"),
        (["--categories", "cloth,velvet"], 1, "no category 'velvet'"),
        (["--seeds", "0,x"], 2, "--seeds is '0,x'"),
        (["--seeds", "-1"], 2, "--seeds is '-1'"),
        (["--set", "training.speed=3"], 2, "unknown key 'training.speed'"),
        (["--metric", "PRO"], 2, "choose from: image_AUROC"),
        (["--workers", "0"], 2, "--workers is 0"),
        (["--workers", "2", "--ray", "auto"], 2, "give one of them"),
        (["--sweep", "a*mse + vae", "b=1"], 2, "'b' must weigh one term"),
        (["--device", "tpu"], 2, "choose from: auto, cpu, cuda"),
    ],
)
def test_a_wrong_command_line_is_one_line_before_anything_runs(root, tmp_path, capsys, arguments, code, message):
    assert main(["compare", str(root), "--out", str(tmp_path / "out"), *arguments]) == code
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert message in error
    assert not (tmp_path / "out").exists()


def test_help_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())
