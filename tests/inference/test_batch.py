"""Bulk inspection: each image once, whatever kills the process; files that come while it watches."""

import csv
import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vtadl
from helpers.categories import defective_image, good_image, make_category
from helpers.exports import card_for
from helpers.forks import run_command, start_command
from vtadl.errors import BundleError, DependencyError
from vtadl.inference import ray_batch as ray_inspection
from vtadl.inference.batch import Options, inspect_files
from vtadl.inference.predict import predict_files
from vtadl.inference.predictions_file import open_predictions_file, read_rows
from vtadl.inference.watch import Pace, watch_folders
from vtadl.reports.pictures import photo_and_heat

CPU = torch.device("cpu")
ROWS_ALONE = Options(overlays=False, maps=False)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    category = make_category(tmp_path_factory.mktemp("sets") / "stripes", train=12)
    return vtadl.train(category, preset="gaussian", model={"image_size": 64}, device="cpu")


@pytest.fixture(scope="module")
def calibrated(detector):
    """The detector, with a threshold between good and defective images."""
    found = vtadl.Detector(detector.run, "cpu")
    found.run = vtadl.runs.run.Run(**{**vars(detector.run)})
    highest = max(detector.predict(good_image(400 + i)).score for i in range(5))
    found.calibrate(threshold=1.3 * highest)
    return found


def fill(folder, count, start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        Image.fromarray(good_image(index, 40)).save(folder / f"{index:03}.png")
    return folder


def inspect(run, inputs, out, **arguments):
    warned = []
    summary = inspect_files(run, inputs, out, CPU, warn=warned.append, **arguments)
    return summary, warned


def rows_of(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def table_of(out):
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_regions_overlays_and_maps_agree(calibrated, tmp_path):
    image, mask = defective_image(7)
    (tmp_path / "in/deep/er").mkdir(parents=True)
    Image.fromarray(image).save(tmp_path / "in/deep/er/bad part.png")
    Image.fromarray(good_image(7)).save(tmp_path / "in/good.bmp")
    out = tmp_path / "out"
    inspect(calibrated.run, [tmp_path / "in"], out)
    defective, good = rows_of(out)
    assert (defective["verdict"], good["verdict"]) == ("defective", "good")
    assert good["regions"] == [] and len(defective["regions"]) >= 1
    worst = defective["regions"][0]
    assert worst["score"] == defective["score"]
    left, top, right, bottom = worst["box"]
    assert mask[top:bottom, left:right].any()
    with Image.open(out / defective["map"]) as stored:
        anomaly_map = np.asarray(stored)
    assert anomaly_map.max() == defective["score"]
    assert (anomaly_map[top:bottom, left:right] > calibrated.run.card.threshold).sum() >= worst["area"]
    with Image.open(out / defective["overlay"]) as picture:
        assert (np.asarray(picture) == 255).all(axis=2).any()
    first, second = table_of(out)
    assert (first["file"], first["verdict"], first["regions"]) == (
        defective["file"],
        "defective",
        str(len(defective["regions"])),
    )
    assert float(first["score"]) == defective["score"]
    assert float(first["p_value"]) == defective["p_value"]
    assert second["box"] == "" and second["area"] == "0"


def test_pictures_stay_the_plain_photo_outside_the_region_of_interest(detector, tmp_path):
    roi_mask = np.zeros((72, 72), bool)
    roi_mask[:, :36] = True
    # So low a scale and a threshold that every pixel is coloured and in a region, the blanked ones too.
    colours = replace(detector.run.held_out, colour_low=-9.0, colour_high=-8.0)
    run = replace(detector.run, roi_mask=roi_mask, held_out=colours, card=card_for(detector.run, -7.0))
    photo = good_image(3)
    Image.fromarray(photo).save(tmp_path / "part.png")
    inspect(run, [tmp_path / "part.png"], tmp_path / "out", options=Options(panels=False))
    picture = np.asarray(Image.open(tmp_path / "out/overlays/part.png"))
    assert (picture[:, 36:] == np.asarray(Image.fromarray(photo).convert("L"))[:, 36:, None]).all()
    assert (np.ptp(picture[1:-1, 1:35], axis=2) > 0).all() and (picture[:, 35] == 255).all()
    (one,) = predict_files(run, [tmp_path / "part.png"], CPU, keep_originals=True)
    shown, heat = photo_and_heat(run, one)
    assert (heat[:, 36:] == np.asarray(Image.fromarray(shown).convert("L"))[:, 36:, None]).all()
    assert (np.ptp(heat[:, :36], axis=2) > 0).all()


def test_the_same_as_one_image_at_a_time(calibrated, tmp_path):
    fill(tmp_path / "in", 11)
    inspect(calibrated.run, [tmp_path / "in"], tmp_path / "out", options=ROWS_ALONE)
    for row in rows_of(tmp_path / "out"):
        assert row["score"] == pytest.approx(calibrated.predict(row["file"]).score, rel=1e-5)


def test_bad_files_get_rows_in_their_places(detector, tmp_path):
    fill(tmp_path / "in", 12)
    for index in (0, 5, 6, 11):
        (tmp_path / "in" / f"{index:03}.png").write_bytes(b"")
    summary, warned = inspect(detector.run, [tmp_path / "in"], tmp_path / "out", options=ROWS_ALONE)
    assert (summary.rows, summary.failed, len(warned)) == (12, 4, 4)
    rows = rows_of(tmp_path / "out")
    assert [row["file"][-7:] for row in rows] == [f"{index:03}.png" for index in range(12)]
    assert [index for index, row in enumerate(rows) if "error" in row] == [0, 5, 6, 11]
    assert "is empty" in table_of(tmp_path / "out")[5]["error"]


def test_a_finished_folder_is_refused_without_force(detector, tmp_path):
    fill(tmp_path / "in", 2)
    inspect(detector.run, [tmp_path / "in"], tmp_path / "out")
    with pytest.raises(BundleError, match="exists already"):
        inspect(detector.run, [tmp_path / "in"], tmp_path / "out")
    (tmp_path / "in/001.png").unlink()
    summary, _ = inspect(detector.run, [tmp_path / "in"], tmp_path / "out", force=True)
    assert (summary.rows, summary.added) == (1, 1)
    assert len(list((tmp_path / "out/overlays").iterdir())) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_work_resumes_after_any_cut(detector, tmp_path):
    fill(tmp_path / "in", 9)
    inspect(detector.run, [tmp_path / "in"], tmp_path / "whole", options=ROWS_ALONE)
    journal = (tmp_path / "whole/predictions.jsonl").read_bytes()
    state = json.loads((tmp_path / "whole/inspection.json").read_text())
    for length in (0, 1, len(journal) // 3, journal.index(b"\n"), journal.index(b"\n") + 1, len(journal) - 1):
        out = tmp_path / f"cut{length}"
        out.mkdir()
        (out / "predictions.jsonl").write_bytes(journal[:length])
        (out / "predictions.csv").write_text("file,sco")
        (out / "inspection.json").write_text(json.dumps({**state, "finished": False}))
        summary, _ = inspect(detector.run, [tmp_path / "in"], out, options=ROWS_ALONE)
        assert summary.added == 9 - journal[:length].count(b"\n")
        for rows in (rows_of(out), table_of(out)):
            assert [row["file"] for row in rows] == [str(tmp_path / "in" / f"{index:03}.png") for index in range(9)]


def test_work_resumes_only_as_the_same(detector, calibrated, tmp_path):
    fill(tmp_path / "in", 2)
    inspect(detector.run, [tmp_path / "in"], tmp_path / "out", options=ROWS_ALONE)
    state = json.loads((tmp_path / "out/inspection.json").read_text())
    (tmp_path / "out/inspection.json").write_text(json.dumps({**state, "finished": False}))
    for run, inputs, options, what in (
        (calibrated.run, [tmp_path / "in"], ROWS_ALONE, "calibration"),
        (detector.run, [tmp_path / "in/000.png"], ROWS_ALONE, "input"),
        (detector.run, [tmp_path / "in"], Options(), "choice of --no-overlays"),
    ):
        with pytest.raises(BundleError, match=f"unfinished inspection with another {what}"):
            inspect(run, inputs, tmp_path / "out", options=options)
    with open_predictions_file(tmp_path / "out", state | {"finished": False}) as predictions:
        assert len(predictions.done) == 2
        with pytest.raises(BundleError, match="another process is writing"):
            inspect(detector.run, [tmp_path / "in"], tmp_path / "out", options=ROWS_ALONE)


def test_names_that_would_meet(detector, tmp_path):
    fill(tmp_path / "in", 1)
    Image.fromarray(good_image(1)).save(tmp_path / "in/000.jpg")
    inspect(detector.run, [tmp_path / "in"], tmp_path / "out")
    assert sorted(row["overlay"] for row in rows_of(tmp_path / "out")) == [
        "overlays/000.jpg.png",
        "overlays/000.png.png",
    ]
    fill(tmp_path / "other", 1, start=0)
    inspect(detector.run, [tmp_path / "other", tmp_path / "in"], tmp_path / "out2")
    assert sorted(row["overlay"] for row in rows_of(tmp_path / "out2")) == [
        "overlays/000.jpg.png",
        "overlays/in/000.png.png",
        "overlays/other/000.png.png",
    ]
    # Equal names of folders too: a number.
    fill(tmp_path / "deep/in", 1)
    inspect(detector.run, [tmp_path / "deep/in", tmp_path / "in"], tmp_path / "out3")
    names = [row["overlay"] for row in rows_of(tmp_path / "out3")]
    assert len(set(names)) == 3 and all((tmp_path / "out3" / name).exists() for name in names)


def test_names_that_are_too_long_for_a_temporary_one(detector, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a" * 243 + ".png", "a" * 242 + "b.png", "\N{CJK UNIFIED IDEOGRAPH-6CB9}" * 82 + ".png", "short.png"):
        Image.fromarray(good_image(1)).save(tmp_path / "in" / name)
    summary, _ = inspect(detector.run, [tmp_path / "in"], tmp_path / "out")
    assert (summary.rows, summary.failed) == (4, 0)
    rows = rows_of(tmp_path / "out")
    for kind in ("overlay", "map"):
        assert len({row[kind] for row in rows}) == 4
        assert all((tmp_path / "out" / row[kind]).is_file() for row in rows)


def test_its_own_pictures_are_no_input(detector, tmp_path):
    fill(tmp_path / "in", 2)
    inspect(detector.run, [tmp_path / "in"], tmp_path / "in/found")
    inspect(detector.run, [tmp_path / "in"], tmp_path / "in/found", force=True)
    assert len(rows_of(tmp_path / "in/found")) == 2


def test_names_that_are_no_text(detector, tmp_path):
    fill(tmp_path / "in", 1)
    (tmp_path / "in/000.png").rename(tmp_path / "in" / os.fsdecode(b"caf\xe9.png"))
    out = tmp_path / "out"
    inspect(detector.run, [tmp_path / "in"], out)
    assert os.fsencode(rows_of(out)[0]["file"]).endswith(b"caf\xe9.png")
    assert b"caf\xe9.png" in (out / "predictions.csv").read_bytes()


def test_an_image_scores_the_same_to_the_bit_beside_others_or_alone(detector, tmp_path):
    """So a prediction that was cut off resumes to the rows of one that was not."""
    fill(tmp_path / "in", 10)
    paths = sorted((tmp_path / "in").iterdir())
    together = list(predict_files(detector.run, paths, CPU))
    assert len(together) == 10
    for one in together:
        alone = detector.predict(one.path)
        assert np.array_equal(one.prediction.anomaly_map, alone.anomaly_map) and one.prediction.score == alone.score


def test_killed_and_called_again_each_image_is_there_once(detector, tmp_path):
    detector.save(tmp_path / "run")
    fill(tmp_path / "in", 200)
    out = tmp_path / "out"
    command = ["predict", str(tmp_path / "run"), str(tmp_path / "in"), "--out", str(out), "--device", "cpu"]
    process = start_command(command, tmp_path / "said.txt")
    while process.is_alive() and rows_written(out) < 40:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert 40 <= rows_written(out) < 200
    assert run_command(command, tmp_path / "said.txt") == 0
    assert "resumed after" in (tmp_path / "said.txt").read_text()
    expected = sorted(str(path) for path in (tmp_path / "in").iterdir())
    assert sorted(row["file"] for row in table_of(out)) == expected
    assert sorted(row["file"] for row in rows_of(out)) == expected
    assert len(list((out / "overlays").iterdir())) == len(list((out / "maps").iterdir())) == 200


def rows_written(out):
    return len(list(read_rows(out / "predictions.jsonl"))) if (out / "predictions.jsonl").exists() else 0


class Watch:
    """A watch in a thread of its own."""

    def __init__(self, run, folder, out, **pace):
        self.out, self.said, self.stop = out, [], threading.Event()
        self.summary = None
        self._thread = threading.Thread(target=self._run, args=(run, folder, Pace(interval=0.02, **pace)))
        self._thread.start()

    def _run(self, run, folder, pace):
        self.summary = watch_folders(
            run, [folder], self.out, CPU, options=ROWS_ALONE, pace=pace, stop=self.stop, say=self.said.append
        )

    def until(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end and self._thread.is_alive()
            time.sleep(0.02)

    def rows(self):
        return {Path(row["file"]).name: row for row in read_rows(self.out / "predictions.jsonl")}

    def __enter__(self):
        self.until(lambda: (self.out / "inspection.json").exists())
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join()


def test_a_watch_takes_complete_files_and_survives_the_folders_absence(detector, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    with Watch(detector.run, folder, out, settle=0.3, patience=1.0) as watch:
        watch.until(lambda: any("is not there" in line for line in watch.said))
        fill(folder, 2)
        watch.until(lambda: len(watch.rows()) == 2)
        assert any("is back" in line for line in watch.said)
        # A file that grows is left alone until it is whole.
        shutil.copy(folder / "000.png", tmp_path / "whole.png")
        content = (tmp_path / "whole.png").read_bytes()
        with (folder / "slow.png").open("wb") as file:
            for start in range(0, len(content), len(content) // 5 + 1):
                file.write(content[start : start + len(content) // 5 + 1])
                file.flush()
                time.sleep(0.15)
        watch.until(lambda: "slow.png" in watch.rows())
        assert "error" not in watch.rows()["slow.png"]
        shutil.move(folder, tmp_path / "away")
        watch.until(lambda: watch.said.count(watch.said[0]) == 2)
        shutil.move(tmp_path / "away", folder)
        fill(folder, 1, start=7)
        (folder / "notes.png").write_text("holiday")
        watch.until(lambda: {"007.png", "notes.png"} <= watch.rows().keys())
        assert "is not an image" in watch.rows()["notes.png"]["error"]
    assert (watch.summary.rows, watch.summary.failed) == (5, 1)
    assert sorted(row["file"] for row in table_of(out)) == sorted(map(str, folder.iterdir()))
    # What a watch left unfinished, a plain call finishes.
    summary, _ = inspect(detector.run, [folder], out, options=ROWS_ALONE)
    assert (summary.rows, summary.added) == (5, 0)


def test_a_changed_file_is_scored_again_and_has_one_row(detector, tmp_path):
    fill(tmp_path / "in", 3)
    inspect(detector.run, [tmp_path / "in"], tmp_path / "out")
    state = json.loads((tmp_path / "out/inspection.json").read_text())
    (tmp_path / "out/inspection.json").write_text(json.dumps({**state, "finished": False}))
    Image.fromarray(defective_image(1)[0]).save(tmp_path / "in/001.png")
    summary, _ = inspect(detector.run, [tmp_path / "in"], tmp_path / "out")
    assert (summary.rows, summary.added) == (3, 1)
    expected = detector.predict(tmp_path / "in/001.png").score
    for rows in (rows_of(tmp_path / "out"), table_of(tmp_path / "out")):
        scores = {Path(row["file"]).name: float(row["score"]) for row in rows}
        assert len(rows) == 3 and scores["001.png"] == pytest.approx(expected, rel=1e-5)
    assert len(list((tmp_path / "out/overlays").iterdir())) == 3


def test_the_same_words_in_another_folder_are_other_files(detector, tmp_path, monkeypatch):
    for name in ("a", "b"):
        fill(tmp_path / name / "in", 1, start=ord(name))
    monkeypatch.chdir(tmp_path / "a")
    inspect(detector.run, [Path("in")], tmp_path / "out")
    state = json.loads((tmp_path / "out/inspection.json").read_text())
    (tmp_path / "out/inspection.json").write_text(json.dumps({**state, "finished": False}))
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(BundleError, match="unfinished inspection with another input"):
        inspect(detector.run, [Path("in")], tmp_path / "out")


def test_a_watch_scores_a_name_that_is_used_again(detector, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    with Watch(detector.run, folder, out, settle=0.05) as watch:
        for number, image in enumerate((good_image(1), defective_image(2)[0], good_image(3))):
            Image.fromarray(image).save(tmp_path / "next.png")
            (tmp_path / "next.png").replace(folder / "latest.png")
            watch.until(lambda number=number: rows_written(out) == number + 1)
            assert rows_of(out)[-1]["score"] == pytest.approx(detector.predict(image).score, rel=1e-5)
    assert watch.summary.added == 3


def test_a_watch_tries_a_held_up_file_again(detector, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(good_image(1)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (folder / "late.png").write_bytes(content[:1000])
    with Watch(detector.run, folder, tmp_path / "out", settle=0.1, patience=60.0) as watch:
        time.sleep(0.6)
        assert watch.rows() == {}
        (folder / "late.png").write_bytes(content)
        watch.until(lambda: watch.rows().keys() == {"late.png"})
        assert watch.rows()["late.png"]["score"] > 0


def test_a_task_of_a_cluster_gives_the_rows_of_its_files(detector, tmp_path):
    detector.save(tmp_path / "run")
    fill(tmp_path / "in", 3)
    (tmp_path / "in/001.png").write_bytes(b"")
    paths = sorted((tmp_path / "in").iterdir())
    files = [(Path("called") / path.name, path, Path(path.stem)) for path in paths]
    rows = ray_inspection._score(files, tmp_path / "run", tmp_path / "out", Options(maps=False), "cpu", [])
    assert [row["file"] for row in rows] == ["called/000.png", "called/001.png", "called/002.png"]
    assert ["error" in row for row in rows] == [False, True, False]
    assert sorted(path.name for path in (tmp_path / "out/overlays").iterdir()) == ["000.png", "002.png"]


@pytest.mark.slow
def test_a_cluster_writes_what_one_process_writes(detector, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vtadl[ray]'")
    detector.save(tmp_path / "run")
    fill(tmp_path / "in", 150)
    here, there = tmp_path / "here", tmp_path / "there"
    inspect(detector.run, [tmp_path / "in"], here, options=ROWS_ALONE)
    spread = partial(ray_inspection.spread_over_ray, "local", tmp_path / "run", CPU, ROWS_ALONE)
    inspect(detector.run, [tmp_path / "in"], there, options=ROWS_ALONE, spread=spread)
    for one, other in zip(rows_of(here), rows_of(there), strict=True):
        assert one["file"] == other["file"]
        assert one["score"] == pytest.approx(other["score"], rel=1e-5)


def test_ray_that_is_not_there_is_named(detector, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    fill(tmp_path / "in", 1)
    spread = partial(ray_inspection.spread_over_ray, "local", tmp_path / "run", CPU, ROWS_ALONE)
    with pytest.raises(DependencyError, match=r"--ray needs ray; fix: pip install 'vtadl\[ray\]'"):
        inspect(detector.run, [tmp_path / "in"], tmp_path / "out", spread=spread)
