"""The command line as a user meets it: exit codes, one-line errors, files that are written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.categories import make_category
from helpers.forks import run_command, start_command
from vtadl.cli import main
from vtadl.config.presets import PRESETS
from vtadl.losses.objective import TERMS

SMALL = ["--preset", "gaussian", "--set", "model.image_size=96", "--device", "cpu"]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes")


@pytest.fixture(scope="module")
def run(category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "stripes"
    assert main(["train", str(category), "--out", str(folder), *SMALL]) == 0
    return folder


def lines_of(text):
    return text.strip().splitlines()


def test_train_says_what_it_did(category, tmp_path, capsys):
    assert main(["train", str(category), "--out", str(tmp_path / "run"), *SMALL, "--preset", "memory"]) == 0
    out, err = capsys.readouterr()
    assert "trained 'memory' on 11 good images of stripes" in out
    assert err == ""


def test_an_earlier_name_of_a_setting_is_read_with_a_line(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = (copy / "config.toml").read_text()
    (copy / "config.toml").write_text(config.replace("backbone =", "stem ="))
    assert main(["info", str(copy)]) == 0
    expected = f"vtadl: warning: {copy}/config.toml: 'model.stem' is called 'model.backbone' now\n"
    assert capsys.readouterr().err == expected


def test_eval_prints_and_writes_every_metric(run, category, tmp_path, capsys):
    assert main(["eval", str(run), str(category), "--json", str(tmp_path / "metrics.json"), "--device", "cpu"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    out = capsys.readouterr().out
    for name in (
        *("image_AUROC", "image_AP", "image_F1Max", "pixel_AUROC", "pixel_AP", "pixel_F1Max"),
        *("pixel_AUPRO@0.3", "pixel_AUPRO@0.05"),
    ):
        assert f"{metrics[name]:.4f}" in next(line for line in lines_of(out) if line.startswith(name))
    assert all(len(line) <= 80 for line in lines_of(out))


def test_eval_by_the_published_protocol_has_columns_of_its_own(run, category, tmp_path, capsys):
    arguments = ["eval", str(run), str(category), "--json", str(tmp_path / "metrics.json"), "--device", "cpu"]
    assert main([*arguments, "--protocol", "vtadl-2021"]) == 0
    out, err = capsys.readouterr()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 < metrics["vtadl2021_PRO"] < 1 and metrics["vtadl2021_PRO"] != metrics["pixel_AUROC"]
    assert f"{metrics['vtadl2021_PRO']:.4f}" in next(line for line in lines_of(out) if line.startswith("vtadl2021_PRO"))
    assert "is no per-region overlap" in err and any("vtadl2021_PRO" in line for line in metrics["warnings"])
    assert main([*arguments, "--protocol", "vtadl-2021", "--resolution", "36"]) == 2
    assert "has a resolution of its own" in capsys.readouterr().err


def test_metrics_of_saved_maps_equal_those_of_the_detector(run, category, tmp_path, capsys):
    out, maps = tmp_path / "out", tmp_path / "maps"
    assert main(["predict", str(run), str(category / "test"), "--out", str(out), "--device", "cpu"]) == 0
    for row in map(json.loads, (out / "predictions.jsonl").read_text().splitlines()):
        target = maps / Path(row["file"]).relative_to(category).with_suffix(".npy")
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.asarray(Image.open(out / row["map"])))
    assert main(["eval", str(run), str(category), "--json", str(tmp_path / "a.json"), "--device", "cpu"]) == 0
    assert main(["metrics", str(maps), str(category), "--json", str(tmp_path / "b.json")]) == 0
    ours, theirs = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    metrics = [name for name in ours if name.startswith(("image_", "pixel_"))]
    assert len(metrics) == 8
    assert {name: ours[name] for name in metrics} == {name: theirs[name] for name in metrics}
    assert theirs["by_defect"].keys() == {"square"}
    assert theirs["protocol"]["map_resampling"] == "none"


def test_metrics_states_resampling_and_warns_of_traps(category, tmp_path, capsys):
    for file in (category / "test").rglob("*.png"):
        target = tmp_path / file.relative_to(category).with_suffix(".npy")
        target.parent.mkdir(parents=True, exist_ok=True)
        grey = np.asarray(Image.open(file).convert("L").resize((36, 36)), np.float32)
        np.save(target, (grey - grey.min()) / (grey.max() - grey.min()))
    assert main(["metrics", str(tmp_path), str(category), "--json", str(tmp_path / "metrics.json")]) == 0
    out, err = capsys.readouterr()
    assert "normalised per image" in err
    assert "maps        8 resampled" in out
    assert json.loads((tmp_path / "metrics.json").read_text())["protocol"]["maps_resampled"] == 8


def test_eval_json_to_standard_output_is_json_alone(run, category, capsys):
    assert main(["eval", str(run), str(category), "--json", "-", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["image_AUROC"] == 1.0


def test_predict_writes_overlays_maps_and_lines(run, category, tmp_path, capsys):
    images = tmp_path / "new"
    (images / "shift1").mkdir(parents=True)
    for name, size in (("a.png", (72, 72)), ("shift1/b.jpg", (150, 60))):
        Image.open(category / "test/good/000.png").resize(size).save(images / name)
    out = tmp_path / "out"
    assert main(["predict", str(run), str(images), "--out", str(out), "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [str(images / "a.png"), str(images / "shift1/b.jpg")]
    for row, (width, height) in zip(rows, ((72, 72), (150, 60)), strict=True):
        assert (row["width"], row["height"]) == (width, height)
        assert row["verdict"] is None
        assert row["milliseconds"] > 0
        with Image.open(out / row["overlay"]) as picture:
            assert picture.width > 2 * width  # the photo, the heat map and the scale
        with Image.open(out / row["map"]) as stored:
            assert np.asarray(stored).max() == pytest.approx(row["score"])
    said = capsys.readouterr().out
    assert "scored 2 images" in said
    highest = max(rows, key=lambda row: row["score"])
    assert lines_of(said)[-1] == f"2 scored, 0 unreadable; highest {highest['score']:.6g}: {highest['file']}"


def test_predict_prints_where_nothing_is_to_be_written(run, category, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, square = category / "test/good/000.png", category / "test/square/000.png"
    assert main(["calibrate", str(run), "--threshold", "5"]) == 0
    try:
        capsys.readouterr()
        assert main(["predict", str(run), str(square), "--device", "cpu"]) == 0
        single = dict(line.split(maxsplit=1) for line in lines_of(capsys.readouterr().out))
        assert single["verdict"] == "defective" and float(single["score"]) > float(single["threshold"]) == 5
        assert "p-value" in single

        (tmp_path / "bad.png").write_text("holiday notes")
        images = [str(tmp_path / "bad.png"), str(good), str(square)]
        assert main(["predict", str(run), *images, "--device", "cpu"]) == 1
        *rows, summary, hint = lines_of(capsys.readouterr().out)
        assert {line.split()[-1]: line.split()[0] for line in rows} == dict(
            zip(images, ("unreadable", "good", "defective"), strict=True)
        )
        assert summary == f"1 defective, 1 good, 1 unreadable; highest {single['score']}: {square}"
        assert "--out" in hint

        assert main(["predict", str(run), *images[1:], "--json", "-", "--device", "cpu"]) == 0
        parsed = [json.loads(line) for line in lines_of(capsys.readouterr().out)]
        assert [row["verdict"] for row in parsed] == ["good", "defective"]
        out = ["--out", str(tmp_path / "out"), "--overlay-only", "--no-maps"]
        assert main(["predict", str(run), str(category / "test"), "--json", "-", *out, "--device", "cpu"]) == 0
        stored = (tmp_path / "out/predictions.jsonl").read_text()
        assert capsys.readouterr().out == stored
        for row in map(json.loads, stored.splitlines()):
            with Image.open(tmp_path / "out" / row["overlay"]) as picture:
                assert picture.size == (72, 72)
    finally:
        for name in ("card.json", "card.html"):
            (run / name).unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"bad.png", "out"}


def test_predict_gives_a_bad_file_a_row_and_exit_code_1(run, category, tmp_path, capsys):
    images = tmp_path / "new"
    images.mkdir()
    (images / "bad.png").write_text("holiday notes")
    Image.open(category / "test/good/000.png").save(images / "good.png")
    arguments = ["predict", str(run), str(images), "--out", str(tmp_path / "out"), "--no-maps", "--device", "cpu"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert "scored 1 images" in out
    assert "bad.png' is not an image" in err
    assert "1 files could not be read" in err
    bad, good = (json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines())
    assert bad["score"] is None and "is not an image" in bad["error"]
    assert good["score"] > 0 and "map" not in good
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    (images / "bad.png").unlink()
    assert main([*arguments, "--force"]) == 0


def test_skip_bad_trains_on_the_rest_and_lists(tmp_path, capsys):
    folder = make_category(tmp_path / "stripes", train=12)
    (folder / "train/good/000.png").write_bytes(b"")
    arguments = ["train", str(folder), "--out", str(tmp_path / "run"), *SMALL]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "000.png" in error
    assert "--skip-bad" in error
    assert not (tmp_path / "run").exists()
    assert main([*arguments, "--skip-bad"]) == 0
    assert "warning: skipped: " in capsys.readouterr().err


def test_several_bad_files_are_a_line_each(tmp_path, run, capsys):
    folder = make_category(tmp_path / "stripes")
    (folder / "test/good/000.png").write_bytes(b"")
    (folder / "ground_truth/square/001_mask.png").unlink()
    for file in (folder / "test/good").glob("00[123].png"):
        file.unlink()
    (folder / "test/hole").mkdir()
    assert main(["eval", str(run), str(folder), "--device", "cpu"]) == 1
    lines = lines_of(capsys.readouterr().err)
    assert len(lines) == 4
    for name, line in zip(("hole", "good/000.png", "001_mask.png"), lines, strict=False):
        assert name in line
    assert "3 problems" in lines[-1]
    assert main(["eval", str(run), str(folder), "--device", "cpu", "--skip-bad"]) == 0
    out = capsys.readouterr().out
    assert "0 good, 3 defective" in out


def test_info_says_what_a_run_is(run, capsys):
    assert main(["info", str(run)]) == 0
    out = capsys.readouterr().out
    assert "11 good images of stripes" in out
    assert "image_size = 96" in out
    assert "input       96 x 96 pixels" in out


def test_presets_lists_them(capsys):
    assert main(["presets"]) == 0
    out = capsys.readouterr().out
    for name in (*PRESETS, *TERMS, "efficientnet-lite0", "vit:FILE", "hub:FOLDER"):
        assert name in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_data_check_passes_and_fails(category, tmp_path, capsys):
    assert main(["data", "check", str(category), "--json", str(tmp_path / "check.json")]) == 0
    assert json.loads((tmp_path / "check.json").read_text())["counts"]["train"] == {"good": 12}
    broken = make_category(tmp_path / "broken")
    (broken / "ground_truth/square/000_mask.png").unlink()
    assert main(["data", "check", str(broken)]) == 1
    assert "000_mask.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "CATEGORY", "--out", "OUT", "--preset", "nope"], 2, "choose from: fusion"),
        (
            ["train", "CATEGORY", "--out", "OUT", "--preset", "gaussian", "--set", "model.size=3"],
            2,
            "unknown key 'model.size'",
        ),
        (["train", "CATEGORY", "--out", "OUT", "--preset", "gaussian", "--objective", "mse"], 2, "takes no objective"),
        (["train", "CATEGORY", "--out", "OUT", "--device", "tpu"], 2, "choose from: auto, cpu, cuda"),
        (["train", "nowhere", "--out", "OUT"], 1, "nowhere"),
        (["train", "CATEGORY", "--out", "CATEGORY"], 1, "exists already"),
        (["train", "CATEGORY", "--out", "CATEGORY", "--force"], 1, "was not written by vtadl"),
        (["train", "CATEGORY/train/good/000.png", "--out", "OUT"], 1, "000.png"),
        (["eval", "nowhere", "CATEGORY"], 1, "no run at 'nowhere'"),
        (["eval", "CATEGORY", "CATEGORY"], 1, "is no finished run"),
        (["metrics", "nowhere", "CATEGORY"], 1, "'nowhere' is no folder"),
        (["metrics", "RUN", "CATEGORY"], 1, "holds no anomaly map of any test image"),
        (["predict", "RUN", "nowhere", "--out", "OUT"], 1, "nowhere"),
        (["predict", "RUN", "CATEGORY", "--no-maps"], 2, "--no-maps goes with --out"),
        (["predict", "RUN", "CATEGORY", "--out", "RUN"], 1, "exists already"),
        (["predict", "RUN", "CATEGORY/train/good/000.png", "--out", "OUT", "--watch"], 2, "--watch takes folders"),
        (["calibrate", "nowhere"], 1, "no run at 'nowhere'"),
        (["calibrate", "RUN"], 1, "a rate of 5 % needs at least 19 good images that were not trained on; there are 1"),
        (
            ["calibrate", "RUN", "--false-reject-rate", "5"],
            2,
            "a rate of 5 cannot be; expected a share between 0 and 1",
        ),
        (["calibrate", "RUN", "--threshold", "nan"], 2, "--threshold is nan; expected a finite score"),
        (["calibrate", "RUN", "--threshold", "3", "--miss-cost", "2"], 2, "--threshold and --miss-cost cannot both"),
        (["calibrate", "RUN", "--threshold", "3", "--review-threshold", "4"], 2, "the review band would be empty"),
        (["calibrate", "RUN", "--defect-share", "0.1"], 2, "--defect-share goes with --miss-cost"),
        (["drift", "RUN", "nowhere.jsonl"], 1, "cannot read 'nowhere.jsonl'"),
        (["info", "nowhere"], 1, "no run at 'nowhere'"),
        (["data", "check", "nowhere"], 1, "nowhere"),
    ],
)
def test_errors_are_one_line_with_the_fix(run, category, tmp_path, capsys, arguments, code, message):
    places = {"CATEGORY": str(category), "RUN": str(run), "OUT": str(tmp_path / "out")}
    filled = [
        a.replace("CATEGORY", places["CATEGORY"]) if a.startswith("CATEGORY") else places.get(a, a) for a in arguments
    ]
    assert main(filled) == code
    error = capsys.readouterr().err
    assert len(lines_of(error)) == 1
    assert error.startswith("vtadl: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_without_a_command_there_is_help_and_flags_may_come_first(capsys):
    assert main([]) == 0
    assert "usage: vtadl" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no run at"):
        main(["--debug", "info", "nowhere"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["train"],
        ["train", "x", "--out", "y", "--colour"],
        ["eval", "x", "y", "--resolution", "half"],
        ["eval", "x", "y", "--resolution", "0"],
    ],
)
def test_wrong_command_lines_exit_with_2_and_point_to_the_help(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert len(lines_of(error)) == 1
    assert "--help" in error


def test_debug_shows_where_an_error_comes_from(capsys):
    with pytest.raises(ValueError, match="no run at"):
        main(["info", "nowhere", "--debug"])


def test_help_answers_without_importing_torch():
    code = "import sys, vtadl.cli; vtadl.cli._parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_help_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ([], ["train"], ["eval"], ["predict"], ["calibrate"], ["drift"], ["data"]):
        with pytest.raises(SystemExit) as exit_info:
            main([*command, "--help"])
        assert exit_info.value.code == 0
        assert all(len(line) <= 80 for line in lines_of(capsys.readouterr().out))


def test_a_killed_training_leaves_no_run_or_a_whole_one(category, tmp_path):
    """Killed at any moment: a folder with ``run.json`` is a finished run, and training again fixes the rest."""
    folder = tmp_path / "run"
    command = ["train", str(category), "--out", str(folder), *SMALL]
    for seconds in (0.02, 0.1, 0.2, 0.4, 0.8):
        process = start_command(command, tmp_path / "said.txt")
        process.join(seconds)
        process.kill()
        process.join()
        if (folder / "run.json").exists():
            break
    else:
        assert run_command(command, tmp_path / "said.txt") == 0, (tmp_path / "said.txt").read_text()
    assert main(["info", str(folder)]) == 0
