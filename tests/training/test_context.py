"""Preset ``context`` as a whole: stored, repeated, interrupted, with few images, with a region of interest."""

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from helpers.categories import defective_image, good_image, make_category
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import read_category
from vtadl.data.roi import BLANK
from vtadl.errors import BundleError, ConfigError, TrainingInterrupted
from vtadl.inference.predict import predict_image
from vtadl.models.context import COMPONENTS, ContextDetector
from vtadl.models.context_network import ContextNetwork
from vtadl.nn.poses import POSES
from vtadl.runs.run import load_run
from vtadl.training.context import VALIDATION_SHARE, _shared_out
from vtadl.training.surfaces import PLACE_TELLS
from vtadl.training.train import train_run, train_to

CPU = torch.device("cpu")
TINY = [
    *("model.image_size=64", "model.pooling=2", "model.coarsening=1", "model.mask_radius=1", "model.width=32"),
    *("model.heads=2", "model.depth=1", "model.size=50", "model.latent_width=4"),
    *("training.steps=4", "training.batch_size=4", "training.checkpoint_every=3"),
]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=20, good=1, defective=1)


def config(*settings, **keys):
    return apply_settings(preset_config("context", **keys), [*TINY, *settings])


def to(folder, category, *settings, warn=lambda line: None, resume=False, **keys):
    return train_to(folder, config(*settings, **keys), read_category(category), CPU, warn=warn, resume=resume)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "times.json"}


def anomaly_map(run, image):
    return predict_image(run, image, CPU).anomaly_map


@pytest.fixture(scope="module")
def finished(category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    to(folder, category)
    return folder


def test_a_run_is_what_was_trained_and_says_how_parts_were_joined(category, finished):
    trained = train_run(config(), read_category(category), CPU, warn=print)
    loaded = load_run(finished)
    for image in (good_image(50), defective_image(51)[0]):
        expected = anomaly_map(trained, image)
        assert np.array_equal(anomaly_map(loaded, image), expected)
        assert expected.shape == image.shape[:2] and np.isfinite(expected).all()
    assert sorted(content(finished)) == ["config.toml", "log.jsonl", "run.json", "weights.safetensors"]
    assert len((finished / "log.jsonl").read_text().splitlines()) == 4
    record = json.loads((finished / "run.json").read_text())["training"]
    assert record["steps"] == 4
    for asked in (record["combination"]["whether"], record["combination"]["where"]):
        assert set(asked) == set(COMPONENTS) and sum(asked.values()) == pytest.approx(1)
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


def test_a_kill_while_the_parts_are_joined_is_no_different(category, finished, tmp_path, monkeypatch):
    def cut_off(*arguments, **keys):
        raise RuntimeError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr("vtadl.training.context.combine", cut_off)
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
        "model.coarsening=3": "model.coarsening is 3",
        "model.mask_radius=2": "model.mask_radius 2",
        "model.heads=3": "expected a multiple of model.heads",
        "model.image_size=70": "expected a multiple of 32",
        "model.poses=turned": "expected one of: auto, fixed, flips, any",
        "model.exposures=flash": "expected one of: auto, fixed",
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
    warnings = []
    run = to(tmp_path / "run", few, objective=objective, warn=warnings.append)
    assert any("good images" in line for line in warnings)
    image = good_image(50)
    found = anomaly_map(run, image)
    assert np.isfinite(found).all() and found.std() > 0
    assert np.array_equal(anomaly_map(load_run(tmp_path / "run"), image), found)


def test_parts_in_any_pose_teach_all_of_them(tmp_path, category):
    fixed, anyhow = (
        to(tmp_path / poses, category, f"model.poses={poses}", "model.size=10000") for poses in ("fixed", "any")
    )
    assert fixed.training["poses"] == [] and anyhow.training["poses"] == list(POSES)
    assert len(anyhow.model.memory.patches) == 8 * len(fixed.model.memory.patches)
    image = good_image(50)
    for pose in (np.rot90, np.transpose):
        turned = np.ascontiguousarray(pose(image, **({"axes": (1, 0, 2)} if pose is np.transpose else {})))
        assert anomaly_map(fixed, turned).mean() > 2 * anomaly_map(anyhow, turned).mean()
    assert load_run(tmp_path / "any").training == anyhow.training


def test_parts_photographed_at_many_exposures_are_known_at_others(tmp_path, category):
    varied = tmp_path / "varied"
    shutil.copytree(category, varied)
    for number, file in enumerate(sorted((varied / "train/good").iterdir())):
        pixels = np.asarray(Image.open(file)) * (0.5, 0.75, 1.0)[number % 3]
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    settings = ("model.size=10000", "training.steps=1")
    fixed = to(tmp_path / "fixed", varied, "model.exposures=fixed", *settings)
    auto = to(tmp_path / "auto", varied, *settings)
    steady = to(tmp_path / "steady", category, *settings)
    assert fixed.training["exposure_spread"] == steady.training["exposure_spread"] == 0
    assert 0.2 < auto.training["exposure_spread"] < 0.4
    # Of 15 that teach and 3 that judge, every second.
    assert len(auto.model.memory.patches) == len(fixed.model.memory.patches) // 18 * (18 + 8 + 2)
    dark = (good_image(50) * 0.35).astype(np.uint8)
    assert anomaly_map(auto, dark).max() < anomaly_map(fixed, dark).max()


def grained(folder, count):
    """A surface: a grain that is another one in each image."""
    folder.mkdir(parents=True)
    for number in range(count):
        grain = ndimage.gaussian_filter(np.random.default_rng(number).normal(size=(72, 72)), (1, 3), mode="wrap")
        Image.fromarray(np.clip(128 + 150 * grain, 0, 255).astype(np.uint8)).convert("RGB").save(
            folder / f"{number}.png"
        )
    return folder


def test_on_a_surface_synthetic_defects_teach_where_to_look(category, finished, tmp_path):
    surface = read_category(grained(tmp_path / "grained", 24))
    runs = [train_run(config(seed=seed), surface, CPU, warn=print) for seed in (0, 0, 1)]
    first, again, other = (run.model.discriminant for run in runs)
    assert first.fitted and first.own.any(1).all()
    assert runs[0].training["position_share"] < PLACE_TELLS
    assert runs[0].training["combination"]["where"]["discriminant"] > 0
    assert torch.equal(first.own, again.own) and not torch.equal(first.own, other.own)
    anyhow = train_run(config("model.poses=any"), surface, CPU, warn=print)
    assert anyhow.training["position_share"] < PLACE_TELLS
    assert not anyhow.model.discriminant.fitted
    asked = [run.training["combination"]["where"]["coarse"] for run in (*runs, anyhow)]
    assert asked[:-1] == [0, 0, 0] and asked[-1] > 0
    part = load_run(finished)
    assert part.training["position_share"] >= PLACE_TELLS
    assert not part.model.discriminant.fitted
    assert part.training["combination"]["where"]["discriminant"] == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_what_a_gpu_trained_scores_alike_on_both_devices(tmp_path):
    gpu = torch.device("cuda")
    run = train_run(config(), read_category(grained(tmp_path / "grained", 24)), gpu, warn=print)
    assert run.model.discriminant.fitted
    for number in range(3):
        image = np.asarray(Image.open(tmp_path / "grained" / f"{number}.png"))
        found, expected = (predict_image(run, image, device).anomaly_map for device in (gpu, CPU))
        # A GPU multiplies in TensorFloat-32, of 10 bits.
        np.testing.assert_allclose(found, expected, atol=0.02 * np.ptp(expected))


def test_images_teach_or_judge_unless_they_are_very_few():
    paths = [Path(f"{number}") for number in range(20)]
    learning, validation = _shared_out(paths)
    assert sorted(learning + validation) == sorted(paths)
    assert len(validation) == 3
    few = paths[: VALIDATION_SHARE - 1]
    assert _shared_out(few) == (few, few)
    learning, validation = _shared_out(paths[:VALIDATION_SHARE])
    assert (len(learning), len(validation)) == (VALIDATION_SHARE - 1, 1)


def test_nothing_outside_the_region_of_interest_counts(category, monkeypatch):
    roi_mask = np.zeros((64, 64), bool)
    roi_mask[:, :32] = True
    embed, seen = ContextDetector.embed, []

    def noted(self, images):
        seen.append(images)
        return embed(self, images)

    monkeypatch.setattr(ContextDetector, "embed", noted)
    run = train_run(config(), dataclasses.replace(read_category(category), roi_mask=roi_mask), CPU, warn=print)
    image = good_image(50)
    found = anomaly_map(run, image)
    image[:, 38:] = 255  # columns next to the border are mixed with those inside when the image is resized
    np.testing.assert_allclose(anomaly_map(run, image), found, rtol=1e-5, atol=1e-5)
    assert len(seen) > 4  # to learn, to judge, held out, and these two
    assert all((images[..., 32:] == BLANK).all() for images in seen)
