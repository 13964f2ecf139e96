"""What TensorBoard is shown, read back from its files; and what is said where it is missing."""

import io
import json
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.data.roi import BLANK
from vtadl.training.tensorboard import Board

TINY = [
    word
    for setting in (
        *("model.image_size=32", "model.patch_size=8", "model.width=16", "model.depth=1", "model.heads=2"),
        *("model.mlp_width=16", "model.mixtures=2", "training.batch_size=4", "training.steps=4"),
    )
    for word in ("--set", setting)
]

CONTEXT = [
    *("model.image_size=64", "model.mask_radius=1", "model.width=16", "model.heads=2"),
    *("model.depth=1", "training.batch_size=4", "training.steps=3"),
]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", good=1, defective=1)


def train(category, out, *more):
    return main(["train", str(category), "--out", str(out), "--device", "cpu", *more])


def board_of(folder):
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        board = EventAccumulator(str(folder))
        board.Reload()
    return board


def pictures_of(folder, name):
    """The last pictures of this name, each ``(H, W, 3)``; they stand side by side."""
    row = Image.open(io.BytesIO(board_of(folder).Images(name)[-1].encoded_image_string))
    return np.split(np.asarray(row), row.width // row.height, axis=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_metrics_are_those_of_the_log_and_pictures_are_there(category, tmp_path):
    pytest.importorskip("tensorboard")
    assert train(category, tmp_path / "plain", "--preset", "paper", *TINY) == 0
    assert train(category, tmp_path / "run", "--preset", "paper", *TINY, "--tensorboard", str(tmp_path / "board")) == 0
    for name in ("weights.safetensors", "log.jsonl"):  # looking changes nothing
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    board = board_of(tmp_path / "board")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    for tag, value in {
        "total": lambda line: line["total"],
        "raw/nll": lambda line: line["terms"]["nll"]["raw"],
        "weighted/mse": lambda line: line["terms"]["mse"]["weighted"],
        "embedding_variance": lambda line: line["embedding_variance"],
    }.items():
        events = board.Scalars(tag)
        assert [event.step for event in events] == [1, 2, 3, 4]
        assert [event.value for event in events] == pytest.approx([value(line) for line in lines], rel=1e-6)
    assert {tag.split("/")[0] for tag in board.Tags()["images"]} == {"image", "heat map", "reconstruction"}


class HotOutside(nn.Module):
    """Scores rise to the right, in the second image twice as high; keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.input_size = (32, 32)

    def anomaly_map(self, images_B3HW):
        self.seen = images_B3HW
        ramp_BHW = torch.linspace(0, 1, 32) * torch.arange(1, 1 + len(images_B3HW))[:, None, None].expand(-1, 32, -1)
        return torch.where(torch.arange(32) < 16, ramp_BHW, 1000 * ramp_BHW)

    def reconstruct(self, images_B3HW):
        return None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_only_the_region_of_interest_has_colour_and_decides_the_scale(category, tmp_path):
    pytest.importorskip("tensorboard")
    roi_mask = np.zeros((64, 64), bool)
    roi_mask[:, :32] = True
    paths = sorted((category / "train/good").iterdir())[:2]
    model = HotOutside()
    line = {"step": 1, "total": 0.0, "learning_rate": 0.0, "gradient_norm": 0.0, "embedding_variance": 1.0, "terms": {}}
    with Board(tmp_path / "board", paths, 1, roi_mask) as board:
        board.show(line, model)
    assert torch.equal(model.seen[..., 16:], torch.full_like(model.seen[..., 16:], BLANK))
    assert model.seen[..., :16].unique().numel() > 100
    for photo in pictures_of(tmp_path / "board", "image"):
        assert np.abs(photo[:, 16:] / 255 - BLANK).max() > 0.1  # shown as it is
    coloured = [np.ptp(heat.astype(int), axis=2) > 0 for heat in pictures_of(tmp_path / "board", "heat map")]
    assert not any(part[:, 16:].any() for part in coloured)
    assert coloured[1][:, 15].all() and not coloured[1][:, 0].any()  # colour begins where few good pixels are


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_training_hands_its_region_over(category, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    boards = []

    class Noted(Board):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            boards.append(self)

    monkeypatch.setattr("vtadl.training.train.Board", Noted)
    Image.fromarray(np.uint8([[255, 0]])).resize((72, 72), Image.Resampling.NEAREST).save(tmp_path / "left.png")
    flags = ["--preset", "paper", *TINY, "--roi", str(tmp_path / "left.png"), "--tensorboard", str(tmp_path / "board")]
    assert train(category, tmp_path / "run", *flags) == 0
    assert boards[0].roi_mask[:, :36].all() and not boards[0].roi_mask[:, 36:].any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_objective_without_a_decoder_shows_no_reconstruction(category, tmp_path):
    pytest.importorskip("tensorboard")
    flags = ["--preset", "paper", *TINY, "--objective", "nll", "--tensorboard", str(tmp_path / "board")]
    assert train(category, tmp_path / "run", *flags) == 0
    tags = board_of(tmp_path / "board").Tags()["images"]
    assert {tag.split("/")[0] for tag in tags} == {"image", "heat map"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_that_sees_embeddings_shows_metrics_and_no_pictures(category, tmp_path):
    pytest.importorskip("tensorboard")
    flags = [word for setting in CONTEXT for word in ("--set", setting)]
    for name, more in (("plain", []), ("run", ["--tensorboard", str(tmp_path / "board")])):
        assert train(category, tmp_path / name, "--preset", "context", *flags, *more) == 0
    for name in ("weights.safetensors", "log.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    board = board_of(tmp_path / "board")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    events = board.Scalars("raw/nll")
    assert [event.step for event in events] == [1, 2, 3]
    assert [event.value for event in events] == pytest.approx([line["terms"]["nll"]["raw"] for line in lines], rel=1e-6)
    assert board.Tags()["images"] == []


def test_without_the_package_the_extra_is_named_before_any_work(category, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train(category, tmp_path / "run", "--preset", "paper", "--tensorboard", str(tmp_path / "board")) == 1
    error = capsys.readouterr().err
    assert "pip install 'vtadl[tensorboard]'" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
