"""Taught parts become good ones, defects stay defects, thresholds are set again, and what cannot be is refused."""

import dataclasses
import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import vtadl
from helpers.categories import defective_image, good_image
from vtadl.calibration.calibrate import Request, calibrate, request_of
from vtadl.calibration.images import gather
from vtadl.calibration.teaching import teach
from vtadl.cli import main
from vtadl.decision.card import CalibrationSet
from vtadl.errors import BundleError, ConfigError, DataError, VtadlWarning
from vtadl.runs.run import load_run
from vtadl.runs.versions import versions_of

SMALL = ["--quiet", "--set", "model.image_size=64", "--set", "model.size=300"]
CPU = torch.device("cpu")


def labelled(seed):
    """A good part with a label that the first ones do not have."""
    image = good_image(seed).copy()
    image[20:44, 20:44, 1] = 230
    return image


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    for name, make, seeds in (
        ("parts", good_image, range(40)),
        ("parts/validation", good_image, range(40, 62)),
        ("labelled", labelled, range(300, 312)),
        ("bad", lambda seed: defective_image(seed)[0], range(200, 204)),
    ):
        folder = root / ("parts/train/good" if name == "parts" else f"{name}/good" if "/" in name else name)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in seeds:
            Image.fromarray(make(seed)).save(folder / f"{seed}.png")
    assert main(["train", str(root / "parts"), "--out", str(root / "run"), "--calibrate", *SMALL]) == 0
    return root


@pytest.fixture
def run(bench, tmp_path):
    return shutil.copytree(bench / "run", tmp_path / "run")


@pytest.fixture(scope="module")
def loaded(bench):
    return load_run(bench / "run")


@pytest.fixture(scope="module")
def teaching(bench, loaded):
    return teach(loaded, bench / "labelled", CPU, defective=bench / "bad")


def test_taught_parts_are_good_now_and_defects_stay_defects(teaching, loaded):
    assert {one.verdict_before for one in teaching.learned} == {"defective"}
    assert {one.verdict_after for one in (*teaching.learned, *teaching.held_out)} == {"good"}
    assert (len(teaching.learned), len(teaching.held_out)) == (11, 1)
    assert {one.verdict_before for one in teaching.defective} == {"defective"}
    assert {one.verdict_after for one in teaching.defective} == {"defective"}


def test_the_earlier_run_stays_as_it_is(teaching, loaded, bench):
    again = load_run(bench / "run")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    assert loaded.source == again.source and loaded.card == again.card


def test_what_was_learned_and_held_out_is_counted_as_in_a_training(teaching, loaded):
    source, held_out = teaching.run.source, teaching.run.held_out
    assert (source.trained_on, source.held_out) == (51, 23) == (len(source.training_sha256), len(held_out.scores))
    assert set(loaded.held_out.sha256) < set(held_out.sha256)
    assert not set(source.training_sha256) & set(held_out.sha256)


def test_the_threshold_is_that_of_the_same_rate_on_the_held_out_images_scored_again(teaching):
    again = calibrate(teaching.run, gather(dataclasses.replace(teaching.run, card=None), CPU), Request())
    assert teaching.run.card.threshold == again.threshold
    assert teaching.run.card.false_rejects == again.false_rejects
    assert teaching.run.card.promise == "exact"


def test_added_images_are_scored_again_and_those_that_were_learned_no_longer_calibrate(bench, loaded):
    sets = gather(loaded, CPU, add_rejects=[bench / "labelled"])
    before = dataclasses.replace(loaded, card=calibrate(loaded, sets, Request()))
    after = teach(before, bench / "labelled", CPU).run
    assert [one.kind for one in after.card.calibration_sets] == ["held out"]


def test_sets_whose_images_are_gone_and_cross_fitted_ones(bench, loaded, tmp_path):
    extra = shutil.copytree(bench / "parts/validation/good", tmp_path / "extra")
    for file in extra.iterdir():
        file.write_bytes(file.read_bytes() + b"\0")
    cross_fit = CalibrationSet(kind="cross-fit", folder="x", added="", sha256=("a",), scores=(0.5,), appearance=())
    sets = (*gather(loaded, CPU, add_good=[extra]), cross_fit)
    before = dataclasses.replace(loaded, card=calibrate(loaded, sets, Request()))
    for file in sorted(extra.iterdir())[:2]:
        file.unlink()
    with pytest.warns(VtadlWarning, match="2 'added good' images are gone"):
        after = teach(before, bench / "labelled", CPU).run
    counts = {one.kind: len(one.scores) for one in after.card.calibration_sets}
    assert counts == {"held out": 23, "added good": 20, "cross-fit": 1}
    for file in extra.iterdir():
        file.unlink()
    with pytest.warns(VtadlWarning, match="22 'added good' images are gone"):
        after = teach(before, bench / "labelled", CPU).run
    assert {one.kind for one in after.card.calibration_sets} == {"held out", "cross-fit"}


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request(false_reject_rate=0.1, review_rate=0.2, outline_rate=0.3),
        Request(threshold=2.0, review_threshold=1.0),
        Request(false_reject_rate=0.1, outline_rate=0.1),
    ],
)
def test_a_card_says_what_it_was_asked_for(loaded, request_):
    run = dataclasses.replace(loaded, card=None)
    card = calibrate(run, gather(run, CPU), request_)
    again = calibrate(run, gather(run, CPU), request_of(card))
    assert dataclasses.replace(again, created=card.created) == card


def test_a_threshold_of_a_cost_is_asked_for_again(loaded):
    card = dataclasses.replace(loaded.card, method="cost")
    with pytest.raises(DataError, match="--miss-cost again"):
        request_of(card)


def test_the_command_changes_the_run_keeps_its_version_and_says_what_came_of_it(run, bench, capsys):
    out = run.parent / "taught.json"
    command = ["teach", str(run), str(bench / "labelled"), "--defective", str(bench / "bad"), "--json", str(out)]
    assert main(command) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert "taught 11 images in " in said and ": 51 learned now, 1 more held out" in said
    assert "taught parts judged good: 0 of 12 before, 12 now" in said
    assert "defective parts judged good: 0 of 4 before, 0 now" in said
    content = json.loads(out.read_text())
    assert content["learned"]["good_after"] == 11 and len(content["defective"]["scores"]) == 4
    assert [one.change for one in versions_of(run)][1:] == ["calibrated: false-reject rate", "taught 11 images"]
    detector = vtadl.load(run)
    assert detector.predict(bench / "labelled/300.png").verdict == "good"
    assert detector.predict(bench / "bad/200.png").verdict == "defective"
    assert main(["rollback", str(run)]) == 0
    assert vtadl.load(run).predict(bench / "labelled/300.png").verdict == "defective"


def test_it_can_be_taught_again_and_finds_the_held_out_images_of_every_folder(run, bench, tmp_path, capsys):
    assert main(["teach", str(run), str(bench / "labelled")]) == 0
    (tmp_path / "one").mkdir()
    Image.fromarray(labelled(400)).save(tmp_path / "one/400.png")
    assert main(["teach", str(run), str(tmp_path / "one"), "--quiet"]) == 0
    source = load_run(run).source
    assert (source.trained_on, source.held_out) == (52, 23)
    capsys.readouterr()
    assert main(["teach", str(run), str(bench / "labelled")]) == 1
    assert "nothing new: each of its 12 good images" in capsys.readouterr().err


def test_cross_fitting_after_teaching_takes_the_taught_images_too(run, bench):
    assert main(["teach", str(run), str(bench / "labelled"), "--quiet"]) == 0
    assert main(["calibrate", str(run), "--false-reject-rate", "0.015", "--quiet"]) == 0
    counts = {one.kind: len(one.scores) for one in load_run(run).card.calibration_sets}
    assert counts == {"held out": 23, "cross-fit": 51}


def test_without_the_earlier_images_the_threshold_needs_a_word(run, bench, tmp_path, capsys):
    times = json.loads((run / "times.json").read_text())
    (run / "times.json").write_text(json.dumps({**times, "category_folder": str(tmp_path / "gone")}))
    assert main(["teach", str(run), str(bench / "labelled")]) == 1
    err = capsys.readouterr().err
    assert "22 of the 22 held-out images are not in its training folder any more" in err
    assert "needs at least 19 good images" in err and "--no-threshold leaves" in err
    assert load_run(run).source.trained_on == 40
    moved = shutil.copytree(bench / "parts", tmp_path / "moved")
    assert main(["teach", str(run), str(bench / "labelled"), "--category", str(moved), "--quiet"]) == 0
    assert load_run(run).card.false_rejects.images == 23
    assert main(["rollback", str(run)]) == 0
    capsys.readouterr()
    assert main(["teach", str(run), str(bench / "labelled"), "--no-threshold"]) == 0
    assert "now none; run vtadl calibrate" in capsys.readouterr().out
    assert load_run(run).card is None and load_run(run).source.trained_on == 51


def test_python_teaches_in_place_and_saves_what_can_be_taught_again(run, bench, tmp_path):
    detector = vtadl.load(run)
    teaching = vtadl.teach(detector, bench / "labelled", defective=bench / "bad")
    assert len(teaching.learned) == 11
    assert detector.predict(bench / "labelled/300.png").verdict == "good"
    detector.save(tmp_path / "saved")
    Image.fromarray(labelled(400)).save(tmp_path / "400.png")
    again = vtadl.load(tmp_path / "saved")
    (tmp_path / "one").mkdir()
    (tmp_path / "400.png").rename(tmp_path / "one/400.png")
    vtadl.teach(again, tmp_path / "one")
    assert again.run.source.trained_on == 52


def test_what_cannot_be_taught_says_what_to_do(run, bench, tmp_path, capsys):
    assert main(["train", str(bench / "parts"), "--out", str(tmp_path / "memory"), "--preset", "memory", *SMALL]) == 0
    assert main(["teach", str(tmp_path / "memory"), str(bench / "labelled")]) == 2
    assert "preset 'memory' cannot be taught" in capsys.readouterr().err
    (run / "learned.safetensors").unlink()
    loaded = load_run(run)  # predicts as before
    with pytest.raises(BundleError, match=r"no learned\.safetensors"):
        teach(loaded, bench / "labelled", CPU)
    with pytest.raises(ConfigError):
        teach(load_run(tmp_path / "memory"), bench / "labelled", CPU)


@pytest.mark.parametrize("damage", ["shape", "nan", "name", "bytes"])
def test_a_damaged_file_of_what_was_learned_is_refused(run, bench, damage, capsys):
    file = run / "learned.safetensors"
    tensors = load_file(file)
    if damage == "shape":
        tensors["components.0.high"] = tensors["components.0.high"][:, :-1].contiguous()
    elif damage == "nan":
        tensors["components.0.deviation"][0, 0] = float("nan")
    elif damage == "name":
        del tensors["components.1.log_mean"]
    save_file(tensors, file)
    if damage == "bytes":
        file.write_bytes(file.read_bytes()[:-3] + b"???")
    else:
        import hashlib

        record = json.loads((run / "run.json").read_text())
        record["learned_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        (run / "run.json").write_text(json.dumps(record))
    assert main(["teach", str(run), str(bench / "labelled")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "learned.safetensors" in err
