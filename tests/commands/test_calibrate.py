"""Calibrating on the command line: what is printed, what is written, what later commands do with it."""

import json
import shutil

import pytest
from PIL import Image

from helpers.categories import defective_image, good_image, make_category
from vtadl.cli import main


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=24, good=3, defective=4)


@pytest.fixture(scope="module")
def period(tmp_path_factory):
    """All good parts of a period."""
    folder = tmp_path_factory.mktemp("period")
    for index in range(22):
        Image.fromarray(good_image(700 + index)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def trained(category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    size = ["--preset", "gaussian", "--set", "model.image_size=64"]
    assert main(["train", str(category), "--out", str(folder), *size, "--device", "cpu"]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A run that does not say where its images are, as earlier versions wrote it."""
    copy = shutil.copytree(trained, tmp_path / "run")
    times = json.loads((copy / "times.json").read_text())
    del times["category_folder"]
    (copy / "times.json").write_text(json.dumps(times))
    return copy


def calibrate(run, *arguments):
    return main(["calibrate", str(run), *map(str, arguments), "--device", "cpu"])


def test_from_refusal_to_verdicts(run, category, period, tmp_path, capsys):
    assert calibrate(run) == 1
    error = capsys.readouterr().err
    assert "needs at least 19 good images" in error and "--add-good" in error and "--cross-fit" in error
    assert not (run / "card.json").exists()

    report = tmp_path / "card.json"
    assert calibrate(run, "--add-good", period, "--review-rate", 0.2, "--labelled", category, "--json", report) == 0
    out = capsys.readouterr().out
    for expected in ("defective", "review", "promise     exact", "22 added good", "95 % interval", "card.html"):
        assert expected in out
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("card:"))
    card = json.loads((run / "card.json").read_text())
    assert json.loads(report.read_text()) == card
    assert card["false_rejects"]["images"] == 24

    assert main(["info", str(run)]) == 0
    assert "promise     exact" in capsys.readouterr().out

    images = tmp_path / "new"
    images.mkdir()
    Image.fromarray(good_image(900)).save(images / "good.png")
    Image.fromarray(defective_image(900)[0]).save(images / "square.png")
    assert main(["predict", str(run), str(images), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    good, square = (json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines())
    assert square["verdict"] == "defective" and square["regions"]
    assert square["p_value"] == pytest.approx(1 / 25)
    assert good["p_value"] > square["p_value"]


def test_later_calibrations_build_on_earlier_ones(run, period, tmp_path, capsys):
    assert calibrate(run, "--add-good", period, "--json", "-") == 0
    first = json.loads(capsys.readouterr().out)
    assert calibrate(run, "--false-reject-rate", 0.1, "--json", "-") == 0
    second = json.loads(capsys.readouterr().out)
    assert second["calibration_sets"] == first["calibration_sets"] and second["threshold"] < first["threshold"]
    assert calibrate(run, "--fresh") == 1
    assert "there are 2" in capsys.readouterr().err
    assert json.loads((run / "card.json").read_text()) == second


def test_cross_fitting_reaches_rates_that_few_images_do_not(run, category, capsys):
    assert calibrate(run, "--cross-fit", category) == 0
    out = capsys.readouterr().out
    assert "22 cross-fit" in out and "promise     approximate" in out


def test_a_run_cross_fits_by_itself_where_too_few_are_held_out(trained, category, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    assert calibrate(run, "--false-reject-rate", 0.03) == 1
    error = capsys.readouterr().err
    assert "there are 2, and 24 by cross-fitting" in error and "--false-reject-rate 0.04" in error
    (run / "card.json").unlink(missing_ok=True)
    assert calibrate(run, "--json", "-") == 0
    out, err = capsys.readouterr()
    assert [len(one["scores"]) for one in json.loads(out)["calibration_sets"]] == [2, 22]
    before, after = err.splitlines()
    assert "2 good images" in before and "takes 19" in before and "about" in before
    assert "cross-fitting 22 images took" in after
    assert calibrate(run, "--quiet", "--false-reject-rate", 0.1) == 0  # rests on what is scored already
    assert capsys.readouterr().err == ""


def test_a_run_whose_images_are_gone_says_so(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    times = json.loads((run / "times.json").read_text())
    (run / "times.json").write_text(json.dumps({**times, "category_folder": str(tmp_path / "gone")}))
    assert calibrate(run) == 1
    error = capsys.readouterr().err
    assert "gone' is not there" in error and "--cross-fit" in error and error.count("\n") == 1


def test_bad_files_are_named_or_skipped(run, period, tmp_path, capsys):
    folder = tmp_path / "period"
    folder.mkdir()
    for index in range(20):
        (folder / f"{index}.png").write_bytes((period / f"{index}.png").read_bytes())
    (folder / "notes.png").write_text("holiday")
    assert calibrate(run, "--add-good", folder) == 1
    assert "notes.png" in capsys.readouterr().err
    assert calibrate(run, "--add-good", folder, "--skip-bad") == 0
    assert "skipped" in capsys.readouterr().err


def test_a_card_that_cannot_be_written_leaves_the_old_one(run, capsys, monkeypatch):
    assert calibrate(run, "--threshold", 9) == 0
    before = (run / "card.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vtadl.runs.checkpoint.sync", full)
    assert calibrate(run, "--threshold", 8) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (run / "card.json").read_bytes() == before
