"""Generated images: which detectors have any, what decides them, and what ``vtadl generate`` writes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import vtadl
from helpers.categories import make_category
from vtadl.cli import main
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.errors import ConfigError
from vtadl.inference.generate import BATCH, generated

CPU = torch.device("cpu")
TINY = [
    *("model.image_size=32", "model.patch_size=8", "model.width=16", "model.depth=1", "model.heads=2"),
    *("model.mlp_width=16", "model.mixtures=2", "training.batch_size=4", "training.steps=2"),
]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", good=1, defective=1)


@pytest.fixture(scope="module")
def folder(category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    flags = [word for setting in TINY for word in ("--set", setting)]
    flags += ["--preset", "paper", "--objective", "mse + vae_image", "--seed", "5", "--device", "cpu"]
    assert main(["train", str(category), "--out", str(folder), *flags]) == 0
    return folder


def test_they_are_decoded_from_the_prior_by_the_runs_seed(folder):
    run = vtadl.load(folder, device="cpu").run
    images = np.stack(list(generated(run, 3, CPU)))
    z = torch.randn(BATCH, 512, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        expected = run.model.network.decoder(z)[:3].permute(0, 2, 3, 1) * 255
    assert images.dtype == np.uint8
    assert np.abs(images - expected.numpy()).max() <= 0.501
    assert np.ptp(images, axis=0).max() > 0


def test_more_of_them_begin_with_the_same(folder):
    run = vtadl.load(folder, device="cpu").run
    few, many = (list(generated(run, count, CPU)) for count in (3, BATCH + 2))
    assert (len(few), len(many)) == (3, BATCH + 2)
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(many[0], many[BATCH])


def test_the_command_writes_them(folder, tmp_path, capsys):
    out = tmp_path / "made"
    arguments = ["generate", str(folder), "--count", "11", "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"generated 11 images: {out}\n"
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [*(f"{number:02}.png" for number in range(11)), "samples.json"]
    expected = list(generated(vtadl.load(folder, device="cpu").run, 11, CPU))
    assert np.array_equal([np.asarray(Image.open(file)) for file in files[:-1]], expected)
    assert json.loads((out / "samples.json").read_text())["objective"] == "mse + vae_image"
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0


def test_what_cannot_be_asked_for_is_a_line(folder, tmp_path, capsys):
    assert main(["generate", str(folder), "--count", "0", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "0 images are asked for; expected 1 to 100,000" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("objective", ["mse + vae", None])
def test_other_detectors_have_none_and_say_which_have(category, objective):
    preset, settings = ("paper", TINY) if objective else ("gaussian", ["model.image_size=64"])
    config = apply_settings(preset_config(preset, objective=objective), settings)
    detector = vtadl.train(category, config=config, device="cpu")
    with pytest.raises(ConfigError, match="generates no images; train preset paper with an objective such as"):
        next(generated(detector.run, 1, CPU))
