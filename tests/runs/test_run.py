"""Run folders from elsewhere: damaged or hostile ones are refused in a line, without harm."""

import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import read_category
from vtadl.errors import BundleError
from vtadl.runs.run import load_run
from vtadl.training.train import train_to

TINY = {
    "paper": [
        *("model.image_size=32", "model.patch_size=8", "model.width=16", "model.depth=1", "model.heads=2"),
        *("model.mlp_width=16", "model.mixtures=2", "training.steps=2"),
    ],
    "context": [
        *("model.image_size=64", "model.mask_radius=1", "model.width=16", "model.heads=2"),
        *("model.depth=1", "training.steps=2"),
    ],
    "memory": ["model.image_size=64", "model.size=50"],
    "gaussian": ["model.image_size=64"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    category = read_category(make_category(root / "stripes", train=10, good=1, defective=1))
    for preset, settings in TINY.items():
        config = apply_settings(preset_config(preset), settings)
        train_to(root / preset, config, category, torch.device("cpu"))
    return root


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs / "paper", tmp_path / "run")


def replace_in(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def change_record(run, **values):
    path = run / "run.json"
    record = json.loads(path.read_text())
    for key, value in values.items():
        section, _, name = key.partition("__")
        (record[section] if name else record)[name or section] = value
    path.write_text(json.dumps(record))


def rewrite_weights(run, change):
    weights = load_file(run / "weights.safetensors")
    change(weights)
    save_file(weights, run / "weights.safetensors")
    change_record(run, weights_sha256=hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest())


@pytest.mark.parametrize("preset", TINY)
def test_what_was_stored_comes_back(runs, preset):
    loaded, again = load_run(runs / preset), load_run(runs / preset)
    images = torch.rand(1, 3, *[loaded.config.model.image_size] * 2)
    assert torch.equal(loaded.model.anomaly_map(images), again.model.anomaly_map(images))
    assert loaded.held_out.scores
    assert not loaded.model.training


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("image_size = 32", "image_size = 1000000000"),
        ("width = 16", "width = 100000000"),
        ("width = 16", "width = 4096"),  # within the bounds, but not what the weights are
        ("depth = 1", "depth = 64"),
        ("mixtures = 2", "mixtures = 1000"),
        ("mixtures = 2", "mixtures = -2"),
        ("heads = 2", "heads = 0"),
        ("patch_size = 8", "patch_size = 0"),
        ("smoothing = 4.0", "smoothing = 1e300"),
        ("smoothing = 4.0", "smoothing = nan"),
        ("batch_size = 8", "batch_size = 99999999999999999999"),
        ('kind = "paper"', 'kind = "../../etc/passwd"'),
        ('kind = "paper"', 'kind = "gaussian"'),
        ("seed = 0", "seed = -1"),
        ('objective = "', 'objective = "__import__'),
        ("[model]", "[[model]]"),
        ("[model]", "x = " + "[" * 100_000),
        ("seed = 0", "seed = 0\nunknown = 1"),
    ],
)
def test_settings_that_cannot_be_are_refused_without_memory_for_them(run, before, after):
    replace_in(run / "config.toml", before, after)
    with pytest.raises(BundleError, match="run"):
        load_run(run)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("depth = 1", "depth = 64"),
        ("width = 16", "width = 2048"),
        ("width = 16\ndepth = 1", "width = 2048\ndepth = 64"),  # 9 GB of weights, were they made
        ("mixtures = 1", "mixtures = 256"),
        ("image_size = 64", "image_size = 2048"),
        (
            'image_size = 64\naspect = 1.0\nkind = "context"\nsmoothing = 4.0\npooling = 2',
            'image_size = 2048\naspect = 1.0\nkind = "context"\npooling = 1',
        ),
        ("radius = 1", "radius = -1000"),
        ('objective = "nll"', 'objective = "vae"'),
        ('objective = "nll"', 'objective = "ssim"'),
    ],
)
def test_a_context_that_cannot_be_is_refused_without_memory_for_it(runs, tmp_path, before, after):
    run = shutil.copytree(runs / "context", tmp_path / "run")
    replace_in(run / "config.toml", before, after)
    with pytest.raises(BundleError, match="run"):
        load_run(run)


def test_a_memory_larger_than_its_settings_allow_is_refused(runs, tmp_path):
    run = shutil.copytree(runs / "memory", tmp_path / "run")
    replace_in(run / "config.toml", "\nsize = 50", "\nsize = 5")
    with pytest.raises(BundleError, match=r"does not fit its config.toml: tensors density\.patches"):
        load_run(run)


@pytest.mark.parametrize("preset", TINY)
def test_runs_of_format_1_load_unless_they_are_another_detector(runs, tmp_path, preset):
    run = shutil.copytree(runs / preset, tmp_path / "run")
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1, "vtadl": "0.1.0"}))
    if preset != "context":
        assert load_run(run).config == load_run(runs / preset).config
        return
    with pytest.raises(
        BundleError, match=r"format 1, preset 'context', written by vtadl 0.1.0.*read it with that vtadl"
    ):
        load_run(run)


@pytest.mark.parametrize(
    "values",
    [
        {"format": 99},
        {"format": "1"},
        {"source": None},
        {"source": {"category": "x"}},
        {"held_out__scores": [float("nan")]},
        {"held_out__scores": ["a"]},
        {"held_out__scores": 3},
        {"held_out__colour_low": "low"},
        {"held_out__colour_high": float("inf")},
        {"training": 3},
        {"weights_sha256": "0"},
    ],
    ids=str,
)
def test_records_that_cannot_be_are_refused(run, values):
    change_record(run, **values)
    with pytest.raises(BundleError, match="run"):
        load_run(run)


def first(weights):
    return next(name for name, tensor in weights.items() if tensor.ndim == 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[first(w)].fill_(float("nan")), "NaN or infinity"),
        (lambda w: w[first(w)][0].fill_(float("inf")), "NaN or infinity"),
        (lambda w: w.pop(first(w)), "does not fit"),
        (lambda w: w.update(extra=torch.zeros(3)), "does not fit its config.toml: tensors extra"),
        (lambda w: w.update({first(w): torch.zeros(7, 5)}), "does not fit"),
        (lambda w: w.update({first(w): torch.zeros(0, 5)}), "does not fit"),
    ],
)
def test_weights_that_cannot_be_are_refused(run, change, message):
    rewrite_weights(run, change)
    with pytest.raises(BundleError, match=message):
        load_run(run)


def test_a_memory_larger_than_its_settings_say_is_refused(runs, tmp_path):
    run = shutil.copytree(runs / "memory", tmp_path / "run")
    rewrite_weights(run, lambda w: w.update({"density.patches": w["density.patches"].repeat(2, 1)}))
    with pytest.raises(BundleError, match=r"does not fit its config.toml: tensors density.patches"):
        load_run(run)


@pytest.mark.parametrize("name", ["config.toml", "weights.safetensors", "run.json", "times.json"])
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "missing", "folder", "pipe", "endless"])
def test_every_damage_to_every_file_is_a_line(run, name, damage, capsys):
    path = run / name
    content = path.read_bytes()
    path.unlink()
    match damage:
        case "empty":
            path.touch()
        case "half":
            path.write_bytes(content[: len(content) // 2])
        case "noise":
            path.write_bytes(bytes(range(256)) * 20)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
    code = main(["info", str(run)])
    error = capsys.readouterr().err
    harmless = (name, damage) == ("times.json", "missing") or (name, damage) == ("config.toml", "half")
    if code == 0:
        assert harmless
    else:
        assert code == 1
        assert error.startswith("vtadl: ")
        assert error.count("\n") == 1


def test_a_header_that_claims_ten_gigabytes_is_refused(run):
    header = b'{"x":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,10000000000]}}'
    (run / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BundleError, match="is damaged"):
        load_run(run)
    (run / "weights.safetensors").write_bytes((10**10).to_bytes(8, "little") + b"{}")
    with pytest.raises(BundleError, match="is damaged"):
        load_run(run)


def test_a_file_of_ten_gigabytes_is_refused_before_it_is_read(run):
    for name in ("run.json", "config.toml"):
        with (run / name).open("r+b") as file:
            file.truncate(10_000_000_000)  # takes no room on the disk
        with pytest.raises(BundleError, match="10,000,000,000 bytes"):
            load_run(run)
