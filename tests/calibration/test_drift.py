"""Drift: what an alarm needs, what it blames, and what it leaves alone."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

import vtadl
from helpers.categories import defective_image, good_image, make_category
from vtadl.calibration.drift import find_drift
from vtadl.cli import main
from vtadl.data.appearance import measure_appearance
from vtadl.errors import DataError
from vtadl.inference.batch import Options, inspect_files
from vtadl.inference.predictions_file import read_rows
from vtadl.reports.drift import drift_page
from vtadl.runs.run import save_run


def test_appearance_tells_lighting_from_focus():
    image = good_image(1, 200)
    usual = measure_appearance(image)
    dim = measure_appearance((image * 0.6).astype(np.uint8))
    assert dim.brightness == pytest.approx(0.6 * usual.brightness, rel=0.01)
    assert dim.sharpness == pytest.approx(usual.sharpness, rel=0.03)
    blurred = measure_appearance(np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5))))
    assert blurred.brightness == pytest.approx(usual.brightness, rel=0.01)
    assert blurred.sharpness < 0.75 * usual.sharpness


def test_appearance_in_known_cases():
    noise = np.random.default_rng(0).integers(0, 256, (900, 700, 1), np.uint8).repeat(3, 2)
    found = measure_appearance(noise)
    assert found == pytest.approx((0.5, 1 / 12**0.5, 1.0), rel=0.02)
    sixteen = measure_appearance(noise.astype(np.uint16) * 257)
    assert sixteen == pytest.approx(found, rel=1e-4)
    flat = measure_appearance(np.full((7, 5, 3), 51, np.uint8))
    assert flat == pytest.approx((0.2, 0.0, 0.0), abs=1e-6)
    assert measure_appearance(np.zeros((1, 1, 3), np.uint8)) == (0.0, 0.0, 0.0)
    # Images larger than what is looked at are measured in rows and columns spread over all of them.
    half = np.zeros((2000, 1000, 3), np.uint8)
    half[1000:] = 255
    assert measure_appearance(half) == pytest.approx((0.5, 0.5, 0.0005), abs=0.01)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets") / "stripes"
    category = make_category(root, train=6)
    for index in range(60):
        target = category / "validation/good" / f"{index:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(varied(1000 + index)).save(target)
    detector = vtadl.train(category, preset="gaussian", model={"image_size": 64}, device="cpu")
    assert len(detector.run.held_out.scores) == 60
    return detector.run


def varied(seed):
    """A good image under a lamp that is not quite steady."""
    return np.clip(good_image(seed) * np.random.default_rng(seed).normal(1, 0.03), 0, 255).astype(np.uint8)


def period(run, folder, images):
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(np.ascontiguousarray(image)).save(folder / f"{index:03}.png")
    out = folder.parent / "out"
    options = Options(overlays=False, maps=False)
    inspect_files(run, [folder], out, vtadl.api.pick_device("cpu"), options=options, warn=lambda line: None)
    return out / "predictions.jsonl"


def blurred(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5)))


def striped_otherwise(seed):
    """Another product of the same brightness, contrast and sharpness."""
    return varied(seed).swapaxes(0, 1)


@pytest.mark.parametrize(
    ("change", "alarms"),
    [
        (lambda seed: varied(seed), ()),
        (lambda seed: varied(seed) if seed % 8 else defective_image(seed)[0], ()),
        (lambda seed: (varied(seed) * 0.8).astype(np.uint8), ("lighting",)),
        (lambda seed: blurred(varied(seed)), ("focus",)),
        (lambda seed: (blurred(varied(seed)) * 0.7).astype(np.uint8), ("lighting", "focus")),
        (striped_otherwise, ("product",)),
    ],
    ids=["none", "defects", "lamp", "lens", "both", "product"],
)
def test_the_alarm_says_what_has_changed(run, tmp_path, change, alarms):
    drift = find_drift(run, read_rows(period(run, tmp_path / "in", [change(seed) for seed in range(80)])))
    assert drift.alarms == alarms
    assert (drift.images, drift.calibrated_on, drift.unreadable) == (80, 60, 0)
    page = drift_page(drift, "A <period>")
    assert page.count("<svg") == 4 and "<period>" not in page
    assert ("Alarm: " in page) == bool(alarms)


def test_chance_alone_gives_no_alarm(run):
    """400 periods drawn from the calibration's own distribution: at most about one false alarm in 1,000 is allowed."""
    rng = np.random.default_rng(0)
    reference = {name: tuple(rng.normal(size=60)) for name in ("score", "brightness", "contrast", "sharpness")}
    held_out = dataclasses.replace(
        run.held_out,
        scores=reference["score"],
        appearance=tuple(zip(*(reference[name] for name in ("brightness", "contrast", "sharpness")), strict=True)),
    )
    still = dataclasses.replace(run, held_out=held_out)
    alarms = 0
    for _ in range(400):
        rows = [dict(zip(reference, rng.normal(size=4), strict=True)) for _ in range(50)]
        alarms += bool(find_drift(still, rows).alarms)
    assert alarms <= 2


def test_the_command_exits_with_1_on_alarm(run, tmp_path, capsys):
    save_run(run, tmp_path / "run")
    dark = period(run, tmp_path / "in", [(varied(seed) * 0.7).astype(np.uint8) for seed in range(40)])
    arguments = ["drift", str(tmp_path / "run"), str(dark)]
    files = ["--report", str(tmp_path / "drift.html"), "--json", str(tmp_path / "drift.json")]
    assert main([*arguments, *files]) == 1
    out = capsys.readouterr().out
    assert "alarm       lighting" in out
    head, brightness = (next(line for line in out.splitlines() if line.startswith(w)) for w in ("stat", "bright"))
    assert head.split()[-4:] == ["difference", "limit", "p", "limit"]
    assert brightness.split()[-4:-2] == ["0.35", brightness.split()[-3]] and brightness.split()[-2:] == [
        "0.001",
        "drifted",
    ]
    assert all(len(line) <= 80 for line in out.splitlines() if "report" not in line)
    assert json.loads((tmp_path / "drift.json").read_text())["alarms"] == ["lighting"]
    assert "Alarm: lighting" in (tmp_path / "drift.html").read_text()


def test_many_rejects_without_a_shift_are_said(run, tmp_path, capsys):
    """Half of the parts defective: their statistics may stay the same as a whole."""
    save_run(run, tmp_path / "run")
    rows = tmp_path / "predictions.jsonl"
    values = zip(run.held_out.scores, run.held_out.appearance, strict=True)
    with rows.open("w") as file:
        for index, (score, (brightness, contrast, sharpness)) in enumerate(values):
            named = {"brightness": brightness, "contrast": contrast, "sharpness": sharpness}
            verdict = "defective" if index % 2 else "good"
            file.write(json.dumps({"file": str(index), "score": score, "verdict": verdict, **named}) + "\n")
    assert main(["drift", str(tmp_path / "run"), str(rows)]) == 0
    out = capsys.readouterr().out
    assert "not good    50.0 % of them" in out and "look at them" in out
    assert "alarm       none" in out


def test_rows_that_cannot_be_compared(run):
    row = {"file": "a", "score": 1.0, "brightness": 0.5, "contrast": 0.1, "sharpness": 0.1, "verdict": "good"}
    with pytest.raises(DataError, match="the predictions hold 3 images; drift needs at least 10"):
        find_drift(run, [row] * 3)
    with pytest.raises(DataError, match="row 2 of the predictions has sharpness None"):
        find_drift(run, [row, {**row, "sharpness": None}])
    few = dataclasses.replace(run, held_out=dataclasses.replace(run.held_out, scores=(1.0,), appearance=()))
    with pytest.raises(DataError, match="the detector was calibrated on 1 images"):
        find_drift(few, [row] * 20)
    drift = find_drift(run, [row] * 30 + [{"file": "b", "score": None, "error": "x"}])
    assert (drift.images, drift.unreadable, drift.not_good) == (30, 1, 0.0)
