"""Long images: trained at their own shape, stored with it, resumed, exported; and earlier runs stay square."""

import dataclasses
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.compare.cells import run_cell
from vtadl.compare.grid import plan_cells
from vtadl.compare.outcomes import CELL_FILE
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.config.schema import SQUARE
from vtadl.data.layouts import read_category
from vtadl.errors import ConfigError, TrainingInterrupted
from vtadl.evaluation import evaluate_run
from vtadl.export.export import TOLERANCE, export_run
from vtadl.inference.predict import predict_image
from vtadl.models.context_network import ContextNetwork
from vtadl.runs.run import load_run
from vtadl.runtime import load
from vtadl.training.train import train_run, train_to

CPU = torch.device("cpu")
HEIGHT, WIDTH = 100, 252
CONTEXT = [
    *("model.pooling=2", "model.mask_radius=1", "model.width=32", "model.heads=2", "model.depth=1"),
    *("training.steps=4", "training.batch_size=4", "training.checkpoint_every=3"),
]
SETTINGS = {"gaussian": [], "context": CONTEXT}
SIZE = (64, 160)
"""Of 96 x 96 at 2.52: 60.5 x 152.4 in multiples of 32."""


def concrete(seed):
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, 6, (HEIGHT, WIDTH, 1)) + 10 * np.sin(np.arange(WIDTH) / 9)[None, :, None]
    return np.clip(130 + grain + np.zeros(3), 0, 255).astype(np.uint8)


def cracked(seed):
    image, mask = concrete(seed), np.zeros((HEIGHT, WIDTH), np.uint8)
    columns = np.arange(60, 190)
    rows = (50 + 12 * np.sin(columns / 20)).astype(int)
    for shift in (0, 1):
        image[rows + shift, columns] = 25
        mask[rows + shift, columns] = 255
    return image, mask


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets") / "slabs"
    for folder in ("train/good", "test/good", "test/crack", "ground_truth/crack"):
        (root / folder).mkdir(parents=True)
    for number in range(12):
        Image.fromarray(concrete(number)).save(root / f"train/good/{number:03}.png")
    for number in range(2):
        Image.fromarray(concrete(50 + number)).save(root / f"test/good/{number:03}.png")
        image, mask = cracked(70 + number)
        Image.fromarray(image).save(root / f"test/crack/{number:03}.png")
        Image.fromarray(mask).save(root / f"ground_truth/crack/{number:03}_mask.png")
    return root


def config(preset, *settings):
    return apply_settings(
        preset_config(preset), ["model.image_size=96", "model.smoothing=1", *SETTINGS[preset], *settings]
    )


def to(folder, category, preset, *settings, resume=False):
    return train_to(folder, config(preset, *settings), read_category(category), CPU, resume=resume)


@pytest.fixture(scope="module", params=SETTINGS)
def finished(request, category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    to(folder, category, request.param)
    return folder


@pytest.fixture(scope="module")
def square(category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "square"
    to(folder, category, "gaussian", "model.aspect=1")
    return folder


def as_before(folder, copy):
    """A run folder as it was written before there was the setting."""
    shutil.copytree(folder, copy)
    text = (copy / "config.toml").read_text()
    assert "aspect = 1.0\n" in text
    (copy / "config.toml").write_text(text.replace("aspect = 1.0\n", ""))
    return copy


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "times.json"}


def test_a_run_keeps_the_shape_that_its_images_have(finished, category, capsys):
    run = load_run(finished)
    assert run.config.model.aspect == 2.52 and "aspect = 2.52\n" in (finished / "config.toml").read_text()
    assert run.input_size == SIZE
    good, image = concrete(60), cracked(80)[0]
    found = predict_image(run, image, CPU)
    assert found.anomaly_map.shape == (HEIGHT, WIDTH)
    assert found.score > 1.5 * predict_image(run, good, CPU).score
    metrics = evaluate_run(run, read_category(category), CPU).metrics
    assert metrics["image_AUROC"] == 1.0 and metrics["pixel_AUROC"] > 0.9
    assert main(["info", str(finished)]) == 0
    assert "input       160 x 64 pixels" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_exports_of_it_say_the_same(finished, tmp_path, kind):
    run = load_run(finished)
    exported = export_run(run, tmp_path / kind, to=kind, images=[concrete(61), cracked(81)[0][:, ::2]])
    assert (exported.manifest.image_size, exported.manifest.input_size) == (96, SIZE)
    detector = load(tmp_path / kind, threads=1)
    assert detector.manifest == exported.manifest
    for image in (concrete(62), cracked(82)[0], cracked(83)[0].transpose(1, 0, 2)):
        ours, theirs = predict_image(run, image, CPU), detector.predict(image)
        assert theirs.anomaly_map.shape == image.shape[:2]
        assert np.abs(ours.anomaly_map - theirs.anomaly_map).max() <= TOLERANCE * ours.score


def test_an_interrupted_training_resumes_as_if_nothing_had_happened(category, tmp_path, monkeypatch):
    terms = ContextNetwork.terms

    def press(self, images, **keys):
        if keys["step"] == 2:
            signal.raise_signal(signal.SIGINT)
        return terms(self, images, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(ContextNetwork, "terms", press)
        with pytest.raises(TrainingInterrupted):
            to(tmp_path / "a", category, "context")
    assert "aspect = 2.52\n" in (tmp_path / "a/config.toml").read_text()
    to(tmp_path / "a", category, "context", resume=True)
    to(tmp_path / "b", category, "context")
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.parametrize("preset", ["context"])
def test_a_training_of_before_resumes_as_a_square(category, tmp_path, monkeypatch, preset):
    def stop(self, images, **keys):
        raise RuntimeError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(ContextNetwork, "terms", stop)
        with pytest.raises(RuntimeError, match="cut off"):
            to(tmp_path / "new", category, preset, "model.aspect=1")
    before = as_before(tmp_path / "new", tmp_path / "before")
    run = to(before, category, preset, resume=True)
    assert run.input_size == (96, 96)
    with pytest.raises(ConfigError, match=r"model.aspect \(1.0, now 2.0\)"):
        to(before, category, preset, "model.aspect=2", resume=True)


def test_a_finished_run_of_before_is_a_square(square, category, tmp_path):
    before = as_before(square, tmp_path / "before")
    old, new = load_run(before), load_run(square)
    assert old.input_size == (96, 96) and old.config == new.config
    image = cracked(80)[0]
    assert np.array_equal(predict_image(old, image, CPU).anomaly_map, predict_image(new, image, CPU).anomaly_map)
    assert to(before, category, "gaussian", resume=True).input_size == (96, 96)
    # What is trained again by its settings, as in cross-fitting, is a square too.
    again = train_run(old.config, read_category(category), CPU)
    assert again.input_size == (96, 96)


def test_what_is_set_wins(category):
    run = train_run(config("gaussian", "model.aspect=0.5"), read_category(category), CPU)
    assert run.config.model.aspect == 0.5
    assert run.input_size == (128, 64)  # 135.8 x 67.9


def test_square_images_and_those_of_many_shapes_are_seen_as_squares(category, tmp_path):
    stripes = make_category(tmp_path / "stripes", train=3, good=0, defective=0)
    mixed = Path(shutil.copytree(category, tmp_path / "mixed"))
    for number, file in enumerate(sorted((mixed / "train/good").iterdir())):
        Image.fromarray(concrete(number)[:, : 90 + 14 * number]).save(file)
    for folder in (stripes, mixed):
        run = train_run(config("gaussian"), read_category(folder), CPU)
        assert run.config.model.aspect == SQUARE and run.input_size == (96, 96)


def test_a_region_of_interest_is_kept_to(category):
    roi_mask = np.zeros((50, 126), bool)
    roi_mask[:15] = True
    whole = dataclasses.replace(read_category(category), roi_mask=roi_mask)
    run = train_run(config("gaussian"), whole, CPU)
    assert run.input_size == SIZE
    good, cracked_below = concrete(80), cracked(80)[0]
    assert predict_image(run, cracked_below, CPU).score == predict_image(run, good, CPU).score
    cracked_above = np.roll(cracked_below, -35, axis=0)
    assert predict_image(run, cracked_above, CPU).score > 1.5 * predict_image(run, good, CPU).score


def test_a_comparison_names_cells_by_what_was_asked_for(category, tmp_path):
    (cell,) = plan_cells(category.parent, presets=["gaussian"], settings=["model.image_size=96"])
    assert cell.config.model.aspect is None
    outcome = run_cell(cell, tmp_path, CPU)
    assert outcome.status == "done", outcome.error
    assert load_run(tmp_path / cell.place / "run").input_size == SIZE
    (tmp_path / cell.place / CELL_FILE).unlink()  # as if killed after the training
    assert run_cell(cell, tmp_path, CPU).metrics == outcome.metrics
