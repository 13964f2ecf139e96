"""What settings leave open is settled by the images, stored, and kept when a training resumes."""

import signal

import pytest
import torch
from PIL import Image

from helpers.categories import make_category
from vtadl.backbones.input_size import input_size, view_size
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.config.schema import OPEN, PART_SIZE, SURFACE_SIZE, with_aspect, with_image_size
from vtadl.data.layouts import read_category
from vtadl.errors import ConfigError, TrainingInterrupted
from vtadl.models.context_network import ContextNetwork
from vtadl.progress import silent
from vtadl.runs.run import load_run
from vtadl.training.settling import settled, settled_as
from vtadl.training.train import train_to

CPU = torch.device("cpu")
SMALL = [
    *("model.mask_radius=1", "model.width=32", "model.heads=2", "model.depth=1", "model.size=50"),
    *("training.steps=4", "training.batch_size=4"),
]


@pytest.fixture
def paths(tmp_path):
    found = [tmp_path / f"{number}.png" for number in range(3)]
    for path in found:
        Image.new("RGB", (60, 24), (90, 90, 90)).save(path)
    return found


@pytest.fixture
def asked(monkeypatch):
    """Whose size was chosen; what is chosen is 96."""
    calls = []

    def choose(config, paths, *rest):
        calls.append((config.aspect, len(paths)))
        return 96

    monkeypatch.setattr("vtadl.training.settling.chosen_size", choose)
    return calls


def settle(paths, *settings, preset="context"):
    return settled(apply_settings(preset_config(preset), settings), paths, None, CPU, silent)


def test_the_shape_is_settled_first_and_then_the_size(paths, asked):
    model = settle(paths).model
    assert (model.aspect, model.image_size) == (2.5, 96)
    assert asked == [(2.5, 3)]


def test_what_is_set_wins(paths, asked):
    model = settle(paths, "model.image_size=128", "model.aspect=1").model
    assert (model.aspect, model.image_size) == (1, 128)
    assert settle(paths, preset="gaussian").model.image_size == 288
    assert settle(paths, preset="paper") == preset_config("paper")
    assert asked == []


def test_a_choice_that_does_not_fit_the_other_settings_is_an_error(paths, asked):
    with pytest.raises(ConfigError, match=r"model.pooling is 5; expected a divisor of the grid's side, 12"):
        settle(paths, "model.aspect=1", "model.pooling=5")


def test_until_then_the_size_is_that_of_parts():
    config = preset_config("context")
    assert config.model.image_size == OPEN and config.model.side == PART_SIZE
    other = with_image_size(with_aspect(config, 2.0), 128)
    assert other.model.image_size == 128
    assert settled_as(config, other) == other
    fixed = apply_settings(config, ["model.image_size=64", "model.aspect=1"])
    assert settled_as(fixed, other) == fixed


def test_the_transformers_copy_keeps_its_size():
    config = with_aspect(preset_config("context"), 1.0)
    surface = with_image_size(config, SURFACE_SIZE)
    assert input_size(surface.model, 32, 8) == (SURFACE_SIZE, SURFACE_SIZE)
    assert view_size(surface.model, 32, 8) == view_size(config.model, 32, 8) == (256, 256)


def test_a_run_keeps_what_was_chosen_and_resumes_with_it(tmp_path, asked, monkeypatch):
    category = read_category(make_category(tmp_path / "stripes", train=12, good=0, defective=0))
    config = apply_settings(preset_config("context"), SMALL)
    terms = ContextNetwork.terms

    def press(self, images, **keys):
        if keys["step"] == 2:
            signal.raise_signal(signal.SIGINT)
        return terms(self, images, **keys)

    def to(folder, resume=False):
        return train_to(folder, config, category, CPU, warn=lambda line: None, resume=resume)

    with monkeypatch.context() as patch:
        patch.setattr(ContextNetwork, "terms", press)
        with pytest.raises(TrainingInterrupted):
            to(tmp_path / "run")
    assert "image_size = 96\n" in (tmp_path / "run/config.toml").read_text()
    to(tmp_path / "run", resume=True)
    assert len(asked) == 1
    run = load_run(tmp_path / "run")
    assert run.input_size == (96, 96)
    assert 0 <= run.training["position_share"] <= 1
    to(tmp_path / "again")
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("run", "again")]
    assert files[0] == files[1]
