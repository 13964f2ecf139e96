"""The demo from the command line to the report, on a set small enough for a test."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.demo import photographs as demo
from vtadl.runs.run import load_run


def copy_small(root):
    return make_category(Path(root) / demo.CATEGORY, train=12, good=2, defective=2)


@pytest.fixture
def small_set(monkeypatch):
    monkeypatch.setattr(demo, "copy_demo", copy_small)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished demo and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(demo, "copy_demo", copy_small)
        assert main(["demo", "--out", str(out), "--device", "cpu"]) == 0
    return out, printed.getvalue().splitlines()


def test_the_demo_leaves_images_runs_and_a_report(done):
    out, _ = done
    assert sorted(path.name for path in out.iterdir()) == ["images", "report.html", "runs"]
    assert [path.name for path in (out / "images").iterdir()] == [demo.CATEGORY]
    assert [path.name for path in (out / "runs").iterdir()] == [demo.CATEGORY]
    run = load_run(out / "runs" / demo.CATEGORY)
    assert run.source.category == demo.CATEGORY
    assert run.card.threshold == max(run.held_out.scores)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "CC BY 4.0" in page
    assert demo.ATTRIBUTION in page
    assert len(list(out.parent.iterdir())) == 1


def test_the_demo_prints_metrics_and_what_to_do_next_in_eighty_columns(done):
    out, lines = done
    assert all(len(line) <= 80 for line in lines if str(out) not in line)
    assert sum(line.startswith("pixel_AUPRO@0.3") for line in lines) == 1
    place = lines.index(f"report: {out / 'report.html'}")
    commands = [words[1] for line in lines[place:] if (words := line.split())[:1] == ["vtadl"]]
    assert commands == ["serve", "train", "predict", "eval"]
    assert len(lines) - place < 12


def test_its_report_and_its_table_agree(done):
    out, lines = done
    page = (out / "report.html").read_text(encoding="utf-8")
    metrics = [line.split()[1] for line in lines if re.match(r"(image|pixel)_", line)]
    assert len(metrics) == 8
    assert all(f"<td>{'–' if metric == '-' else metric}</td>" in page for metric in metrics)


def test_a_folder_that_is_there_is_replaced_only_if_told_and_only_if_it_is_a_demo(done, small_set, tmp_path, capsys):
    out, _ = done
    assert main(["demo", "--out", str(out), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.strip().endswith("or replace it with --force")
    (tmp_path / "photo.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path), "--device", "cpu", "--force"]) == 1
    assert "was not written by vtadl" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.txt"]


def test_a_demo_that_is_cut_off_leaves_nothing(small_set, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vtadl.evaluation.evaluate_run", interrupted)
    assert main(["demo", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 130
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capsys.readouterr().err


def test_wrong_flags_are_one_line(tmp_path, capsys):
    if not torch.cuda.is_available():
        assert main(["demo", "--out", str(tmp_path / "out"), "--device", "cuda"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--output", str(tmp_path / "out")])
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
