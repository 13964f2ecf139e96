"""Two processes against one: shares of batches, batch statistics, and whole trainings."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.forks import in_fork
from helpers.process_group import (
    NETWORKS,
    interrupt_group,
    normalise_in_group,
    run_group,
    train_each,
    train_each_in_group,
)
from vtadl.cli import main
from vtadl.config.presets import preset_config
from vtadl.data.layouts import read_category
from vtadl.errors import ConfigError
from vtadl.training.distributed import ProcessGroup, SharedBatchNorm2d, share_batch_statistics
from vtadl.training.train import train_to

SETTINGS = [
    *("model.image_size=32", "model.patch_size=8", "model.width=32", "model.depth=2", "model.heads=2"),
    *("model.mlp_width=32", "model.mixtures=2", "training.batch_size=6", "training.steps=20"),
    "training.checkpoint_every=8",
]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def in_two(function, *arguments, said=None):
    assert in_fork(function, free_port(), *arguments, said=said) == [0, 0], said and said.read_text()


@pytest.mark.parametrize(("batch", "size"), [(8, 2), (7, 2), (1, 2), (5, 4), (3, 8), (6, 1)])
def test_shares_are_parts_of_the_batch(batch, size):
    shares = [ProcessGroup(rank=rank, size=size).share(range(batch)) for rank in range(size)]
    assert [index for share in shares for index in share] == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_shared_batch_normalisation_keeps_names_and_scores_as_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model(torch.rand(5, 3, 8, 8))
    x, names = torch.rand(2, 3, 8, 8), list(model.state_dict())
    expected = model.eval()(x)
    share_batch_statistics(model)
    assert type(model[1]) is SharedBatchNorm2d
    assert list(model.state_dict()) == names
    assert torch.equal(model(x), expected)


@pytest.fixture(scope="module")
def statistics(tmp_path_factory):
    """Batch normalisation of 5 images split 3 + 2, and of 1 image split 1 + 0, in two processes."""
    folder = tmp_path_factory.mktemp("statistics")
    torch.manual_seed(1)
    images = {"split": torch.randn(5, 3, 4, 4) * 3 + 100, "idle": torch.randn(1, 3, 4, 4)}
    save_file(images, folder / "images.safetensors")
    in_two(normalise_in_group, folder)
    return folder, images


@pytest.mark.parametrize("case", ["split", "idle"])
def test_statistics_and_gradients_are_those_of_the_whole_batch(statistics, case):
    folder, images = statistics
    x = images[case].clone().requires_grad_()
    norm = nn.BatchNorm2d(3)
    y = norm(x)
    (y.sigmoid() * torch.arange(float(y[0].numel())).view_as(y[0])).sum().backward()
    parts = [load_file(folder / f"{case}{rank}.safetensors") for rank in range(2)]
    together = {name: torch.cat([part[name] for part in parts])[: len(x)] for name in ("y", "x_grad")}
    together["weight_grad"] = sum(part["weight_grad"] for part in parts)
    for name, expected in {"y": y.detach(), "x_grad": x.grad, "weight_grad": norm.weight.grad}.items():
        assert (together[name] - expected).abs().max() <= 1e-4 * expected.abs().max(), name
    for part in parts:
        torch.testing.assert_close(part["running_mean"], norm.running_mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(part["running_var"], norm.running_var, rtol=1e-5, atol=1e-6)


def make_noise(folder, count):
    """Images of noise, for images that are almost alike have batch statistics that magnify rounding."""
    rng = np.random.default_rng(0)
    (folder / "train/good").mkdir(parents=True)
    for index in range(count):
        image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).resize((96, 96))
        image.save(folder / f"train/good/{index:03}.png")
    return folder


@pytest.fixture(scope="module", params=[21, 23], ids=["1 and 0 images", "2 and 1 images"])
def category(request, tmp_path_factory):
    """All but two images are trained on, in batches of six and a last one that two processes share unevenly."""
    return make_noise(tmp_path_factory.mktemp("sets") / "noise", request.param)


def arguments_of(category, out, *more):
    flags = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["train", str(category), "--preset", "paper", "--device", "cpu", "--out", str(out), *flags, *more]


def loss_differences(first, second):
    """Largest relative difference of the losses at each step."""
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (first, second)]
    return [
        max(abs(term["raw"] - two["terms"][name]["raw"]) / abs(term["raw"]) for name, term in one["terms"].items())
        for one, two in zip(*logs, strict=True)
    ]


@pytest.fixture(scope="module")
def pair(category, tmp_path_factory):
    """The run of two processes."""
    folder = tmp_path_factory.mktemp("runs") / "pair"
    said = folder.with_suffix(".txt")
    in_two(run_group, arguments_of(category, folder), said=said)
    assert said.read_text().count("trained 'paper'") == 1  # one process speaks and writes
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Eleven images; batches of 4 leave 3 (2 and 1 images), batches of 5 leave 1 (1 and no image)."""
    folder = make_noise(tmp_path_factory.mktemp("both") / "noise", 11) / "train/good"
    in_two(train_each_in_group, folder, [4, 5])
    train_each(folder, [4, 5])
    return folder


@pytest.mark.parametrize("batch_size", [4, 5])
@pytest.mark.parametrize("network", NETWORKS)
def test_twenty_steps_of_two_processes_are_those_of_one(both, network, batch_size):
    """In float32, where nothing has a kink."""
    places = [both / f"{network}-{batch_size}-of-{size}" for size in (1, 2)]
    one, two = (json.loads(place.with_suffix(".json").read_text()) for place in places)
    assert [line["images"] for line in one] == [line["images"] for line in two]
    for first, second in zip(one, two, strict=True):
        for name in ("total", "gradient_norm"):
            assert second[name] == pytest.approx(first[name], rel=1e-5)
        for name, term in first["terms"].items():
            assert second["terms"][name]["raw"] == pytest.approx(term["raw"], rel=1e-5)
    weights = [load_file(place.with_suffix(".safetensors")) for place in places]
    for name, value in weights[0].items():
        assert (weights[1][name] - value).double().norm() <= 1e-5 * value.double().norm(), name


def test_the_published_network_agrees_until_a_relu_flips(category, pair, tmp_path):
    """Its decoder has kinks, where rounding can decide on which side a value falls, and Adam magnifies what follows."""
    assert main(arguments_of(category, tmp_path / "one")) == 0
    differences = loss_differences(tmp_path / "one", pair)
    assert max(differences[:4]) < 1e-5
    assert max(differences) < 1e-2


@pytest.mark.parametrize("category", [21], indirect=True)
def test_two_processes_resume_from_what_two_processes_left(category, pair, tmp_path):
    folder = tmp_path / "run"
    said = tmp_path / "said.txt"
    in_two(interrupt_group, arguments_of(category, folder), folder / "log.jsonl", 9, said=said)
    assert said.read_text().count("interrupted after step") == 2
    in_two(run_group, arguments_of(category, folder, "--resume"), said=said)
    for name in ("weights.safetensors", "log.jsonl", "run.json"):
        assert (folder / name).read_bytes() == (pair / name).read_bytes()


@pytest.mark.slow
def test_torchrun_starts_it(category, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    done = subprocess.run(
        [*command, "-m", "vtadl", *arguments_of(category, tmp_path / "run")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/run.json").exists()


def test_a_preset_without_steps_is_not_started_twice(category, tmp_path, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="fitted by one process; start it without torchrun"):
        train_to(tmp_path / "run", preset_config("gaussian"), read_category(category), torch.device("cpu"))


CONTEXT = [
    *("model.image_size=64", "model.mask_radius=1", "model.width=16", "model.heads=2"),
    *("model.depth=2", "model.latent_width=4", "training.batch_size=5", "training.steps=8"),
]


@pytest.mark.parametrize("objective", [pytest.param("nll", marks=pytest.mark.slow), "mse + vae"])
@pytest.mark.parametrize("category", [21], indirect=True)
def test_the_preset_context_learns_the_same_in_two_processes(category, tmp_path, objective):
    """Of 17 images, in batches of 5 and a last one of 2; dropout and noise depend on the image, not on the process."""
    flags = [word for setting in CONTEXT for word in ("--set", setting)]
    words = ["train", str(category), "--preset", "context", "--device", "cpu", "--objective", objective, *flags]
    in_two(run_group, [*words, "--out", str(tmp_path / "two")], said=tmp_path / "said.txt")
    assert (tmp_path / "said.txt").read_text().count("trained 'context'") == 1
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    assert max(loss_differences(tmp_path / "one", tmp_path / "two")) < 1e-4
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        assert (two[name].double() - value.double()).norm() <= 1e-3 * value.double().norm(), name
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two")]
    assert records[0]["training"] == records[1]["training"]
    assert records[0]["held_out"]["scores"] == pytest.approx(records[1]["held_out"]["scores"], rel=1e-3, abs=1e-3)
