"""Preset ``context`` as a whole: stored, repeated, interrupted, with few images, with a region of interest."""

import dataclasses
import json
import shutil
import signal

import numpy as np
import pytest
import torch

from helpers.categories import defective_image, good_image, make_category
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import read_category
from vtadl.data.roi import BLANK
from vtadl.errors import BundleError, ConfigError, TrainingInterrupted, VtadlWarning
from vtadl.inference.predict import predict_image
from vtadl.models.context import ContextDetector
from vtadl.models.context_network import ContextNetwork
from vtadl.runs.run import load_run
from vtadl.training.train import train_run, train_to

CPU = torch.device("cpu")
TINY = [
    *("model.image_size=64", "model.pooling=2", "model.mask_radius=1", "model.width=32"),
    *("model.heads=2", "model.depth=1", "model.latent_width=4"),
    *("training.steps=4", "training.batch_size=4", "training.checkpoint_every=3"),
]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=20, good=1, defective=1)


def config(*settings, **keys):
    return apply_settings(preset_config("context", **keys), [*TINY, *settings])


def to(folder, category, *settings, resume=False, **keys):
    return train_to(folder, config(*settings, **keys), read_category(category), CPU, resume=resume)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "times.json"}


def anomaly_map(run, image):
    return predict_image(run, image, CPU).anomaly_map


@pytest.fixture(scope="module")
def finished(category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    to(folder, category)
    return folder


def test_a_run_is_what_was_trained_and_keeps_its_log(category, finished):
    trained = train_run(config(), read_category(category), CPU)
    loaded = load_run(finished)
    for image in (good_image(50), defective_image(51)[0]):
        expected = anomaly_map(trained, image)
        assert np.array_equal(anomaly_map(loaded, image), expected)
        assert expected.shape == image.shape[:2] and np.isfinite(expected).all()
    assert sorted(content(finished)) == ["config.toml", "log.jsonl", "run.json", "weights.safetensors"]
    assert len((finished / "log.jsonl").read_text().splitlines()) == 4
    record = json.loads((finished / "run.json").read_text())["training"]
    assert record.pop("images")["bits"] == [8]
    assert record == {"steps": 4, "weights": "those of the last step"}
    times = json.loads((finished / "times.json").read_text())
    assert 0 < times["of_that_steps"] <= times["training_seconds"]


def test_a_defect_scores_above_good_parts(finished):
    run = load_run(finished)
    image, mask = defective_image(51)
    found = anomaly_map(run, image)
    assert found.max() > 2 * anomaly_map(run, good_image(50)).max()
    assert found[mask > 0].mean() > found[mask == 0].mean()


def test_seeds_decide_and_names_do_not(category, finished, tmp_path):
    renamed = shutil.copytree(category, tmp_path / "renamed")
    for index, file in enumerate(sorted((renamed / "train/good").iterdir(), reverse=True)):
        file.rename(file.with_name(f"x{index:03}.png"))
    to(tmp_path / "a", renamed)
    to(tmp_path / "b", category, seed=1)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (finished, tmp_path / "a", tmp_path / "b")]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("step", [0, 2, 3])
def test_an_interrupted_training_resumes_as_if_nothing_had_happened(category, finished, tmp_path, monkeypatch, step):
    terms = ContextNetwork.terms

    def press(self, images, **keys):
        if keys["step"] == step:
            signal.raise_signal(signal.SIGINT)
        return terms(self, images, **keys)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ContextNetwork, "terms", press)
        if step < 3:
            with pytest.raises(TrainingInterrupted, match=f"after step {step + 1} of 4; .*--resume"):
                to(folder, category)
            with pytest.raises(BundleError, match=r"unfinished training \(step .\); resume with"):
                load_run(folder)
        else:  # the last step was as good as done
            to(folder, category)
    to(folder, category, resume=True)
    assert content(folder) == content(finished)


def test_a_kill_after_the_last_step_is_no_different(category, finished, tmp_path, monkeypatch):
    def cut_off(*arguments, **keys):
        raise RuntimeError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(ContextNetwork, "fit_residual", cut_off)
        with pytest.raises(RuntimeError, match="cut off"):
            to(tmp_path / "run", category)
    assert not (tmp_path / "run/run.json").exists()
    to(tmp_path / "run", category, resume=True)
    assert content(tmp_path / "run") == content(finished)


def test_other_settings_are_refused_before_anything_is_written(category, finished, tmp_path):
    before = content(finished)
    with pytest.raises(ConfigError, match=r"model.mask_radius \(1, now 0\)"):
        to(finished, category, "model.mask_radius=0", resume=True)
    assert content(finished) == before
    for setting, message in {
        "model.pooling=3": "a divisor of the grid's side, 8",
        "model.mask_radius=2": "model.mask_radius is 2, on 4 x 4 patches",
        "model.mask_radius=-1": "expected 0 to 64",
        "model.heads=3": "expected a multiple of model.heads",
        "model.image_size=70": "expected a multiple of 32",
    }.items():
        with pytest.raises(ConfigError, match=message):
            to(tmp_path / "run", category, setting)
    with pytest.raises(ConfigError, match=r"'ssim' is no loss of preset 'context'.*mse, l1, cosine, nll, vae, kl"):
        to(tmp_path / "run", category, objective="nll + ssim")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("images", "objective"),
    [(1, "nll"), (1, "vae"), (2, "nll"), *((5, o) for o in ("nll", "vae", "mse", "cosine", "kl + nll"))],
)
def test_few_images_and_every_kind_of_objective(tmp_path, images, objective):
    few = make_category(tmp_path / "few", train=images, good=0, defective=0)
    with pytest.warns(VtadlWarning, match="good images"):
        run = to(tmp_path / "run", few, objective=objective)
    image = good_image(50)
    found = anomaly_map(run, image)
    assert np.isfinite(found).all() and found.std() > 0
    assert np.array_equal(anomaly_map(load_run(tmp_path / "run"), image), found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_what_a_gpu_trained_scores_alike_on_both_devices(tmp_path):
    gpu = torch.device("cuda")
    run = train_run(config(), read_category(make_category(tmp_path / "stripes")), gpu)
    for number in range(3):
        image = good_image(50 + number)
        found, expected = (predict_image(run, image, device).anomaly_map for device in (gpu, CPU))
        # A GPU multiplies in TensorFloat-32, of 10 bits.
        np.testing.assert_allclose(found, expected, atol=0.02 * np.ptp(expected))


def test_nothing_outside_the_region_of_interest_counts(category, monkeypatch):
    roi_mask = np.zeros((64, 64), bool)
    roi_mask[:, :32] = True
    embed, seen = ContextDetector.embed, []

    def noted(self, images):
        seen.append(images)
        return embed(self, images)

    monkeypatch.setattr(ContextDetector, "embed", noted)
    run = train_run(config(), dataclasses.replace(read_category(category), roi_mask=roi_mask), CPU)
    image = good_image(50)
    found = anomaly_map(run, image)
    image[:, 38:] = 255  # columns next to the border are mixed with those inside when the image is resized
    np.testing.assert_allclose(anomaly_map(run, image), found, rtol=1e-5, atol=1e-5)
    assert len(seen) >= 4  # to learn, held out, and these two
    assert all((images[..., 32:] == BLANK).all() for images in seen)
