"""The training loop against a plain loop, and everything that can cut it off."""

import itertools
import json
import math
import signal
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vtadl.config.schema import PaperConfig, TrainingConfig
from vtadl.data.cached_images import CachedImages
from vtadl.data.training_images import TrainingImages
from vtadl.errors import TrainingError, TrainingInterrupted
from vtadl.losses.objective import TERMS, parse_objective
from vtadl.models.paper_network import PaperModel
from vtadl.runs import checkpoint
from vtadl.runs.checkpoint import Conditions, TrainingLog, read_checkpoint
from vtadl.training import cuda_graph as step_graph
from vtadl.training import loop as optimization
from vtadl.training.loop import optimise
from vtadl.training.schedule import sample_order

CPU = torch.device("cpu")
IMAGES = 7
SIDE = 8


class Line(nn.Module):
    """The smallest network with two terms: each pixel from itself, with noise keyed as the interface asks."""

    def __init__(self, objective):
        super().__init__()
        self.objective = objective
        self.map = nn.Linear(SIDE, SIDE)
        self.at = {}
        """What happens at which step: a function of terms and variance."""

    def terms(self, images_B3HW, *, seed, step, samples):
        noise = [np.random.default_rng((seed, step, sample)).standard_normal((3, SIDE, SIDE)) for sample in samples]
        x = self.map(images_B3HW + 0.1 * torch.from_numpy(np.stack(noise)).float())
        terms = {"mse": (x - images_B3HW).square().mean(), "l1": (x - images_B3HW).abs().mean()}
        variance = x.detach().var()
        return self.at[step](terms, variance) if step in self.at else (terms, variance)

    def anomaly_map(self, images_B3HW):
        return (self.map(images_B3HW) - images_B3HW).square().mean(1)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = [folder / f"{index}.png" for index in range(IMAGES)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    return CachedImages(TrainingImages(paths=tuple(paths)), (SIDE, SIDE))


def network(expression="2*mse + l1"):
    torch.manual_seed(0)
    return Line(parse_objective(expression))


def settings(**changes):
    return TrainingConfig(**{"steps": 10, "batch_size": 3, "learning_rate": 0.01, "checkpoint_every": 4, **changes})


def new_training_log(folder):
    folder.mkdir(exist_ok=True)
    conditions = Conditions(config="", images=IMAGES, content_sha256="", torch="", threads=1, processes=1, device="cpu")
    return TrainingLog(folder, conditions)


def train(folder, images, model=None, **changes):
    model = model or network()
    with new_training_log(folder) as training_log:
        state = optimise(model, images, settings(**changes), 5, CPU, training_log=training_log)
    return model, state


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# The metrics


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_steps_are_those_of_a_plain_loop(images, tmp_path, optimizer):
    trained, _ = train(tmp_path, images, optimizer=optimizer, gradient_clip=0.5, weight_decay=0.1)
    model = network()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    reference = kind(model.parameters(), lr=0.01, weight_decay=0.1, fused=False, foreach=False)
    order = itertools.chain(*(sample_order(5, epoch, IMAGES) for epoch in range(9)))
    for step in range(10):
        size = 1 if step % 3 == 2 else 3  # 7 images are 3 + 3 + 1
        samples = list(itertools.islice(order, size))
        (pixels,) = images.batches([samples])
        terms, _ = model.terms(pixels, seed=5, step=step, samples=samples)
        reference.zero_grad()
        (2 * terms["mse"] + terms["l1"]).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        line = log_of(tmp_path)[step]
        assert line["terms"]["mse"] == {"raw": terms["mse"].item(), "weighted": 2 * terms["mse"].item()}
        assert line["total"] == pytest.approx((2 * terms["mse"] + terms["l1"]).item(), rel=1e-6)
        assert line["gradient_norm"] == pytest.approx(norm.item(), rel=1e-5)
        assert (line["step"], line["epoch"], line["images"]) == (step + 1, step // 3 + 1, size)
        reference.step()
    torch.testing.assert_close(weights_of(trained), weights_of(model), rtol=1e-5, atol=1e-7)


def test_the_log_has_a_line_a_step_and_nothing_that_differs_between_equal_runs(images, tmp_path):
    keys = {"step", "epoch", "total", "terms", "learning_rate", "gradient_norm", "embedding_variance", "images"}
    train(tmp_path / "a", images)
    train(tmp_path / "b", images)
    assert [set(line) for line in log_of(tmp_path / "a")] == [keys] * 10
    assert (tmp_path / "a/log.jsonl").read_bytes() == (tmp_path / "b/log.jsonl").read_bytes()


def test_the_best_epoch_is_a_record_and_the_weights_are_the_last(images, tmp_path):
    model, state = train(tmp_path, images, learning_rate=0.5, steps=12)
    epochs = Counter()
    for line in log_of(tmp_path):
        epochs[line["epoch"]] += line["total"] * line["images"] / IMAGES
    assert state.best_epoch == min(epochs, key=epochs.get)
    assert state.best_loss == pytest.approx(min(epochs.values()), rel=1e-12)
    assert state.best_epoch < 4  # at this rate the loss grows, so the last epoch is not the best
    tensors, _ = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert torch.equal(tensors["model.map.weight"], model.map.weight)


def test_half_precision_trains_and_differs(images, tmp_path):
    exact, _ = train(tmp_path / "a", images)
    rough, _ = train(tmp_path / "b", images, precision="bfloat16")
    assert all(p.dtype == torch.float32 for p in rough.parameters())
    assert 0 < (weights_of(exact) - weights_of(rough)).abs().max() < 0.1


def test_torchs_settings_and_generator_are_left_as_they_were(images, tmp_path):
    before = torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT)
    train(tmp_path, images)
    assert (torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT)) == before


def test_attention_is_fused_again_after_a_training_that_must_not_fuse_it():
    def fused():
        return torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.cudnn_sdp_enabled()

    before = fused()
    with optimization._deterministic(strict=False, fused_attention=False):
        assert fused() == (False, False) and torch.backends.cuda.math_sdp_enabled()
    assert fused() == before


# The ends


def spoiled(name):
    return lambda terms, variance: ({**terms, name: terms[name] * math.nan}, variance)


def test_a_loss_that_is_nan_stops_and_names_term_and_step(images, tmp_path):
    model = network()
    model.at[6] = spoiled("l1")
    with pytest.raises(TrainingError, match=r"loss term 'l1' is not finite at step 7; the last good state, step 4"):
        train(tmp_path, images, model)
    assert weights_of(model).isfinite().all()
    tensors, metadata = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert metadata["state"]["step"] == 4
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert [line["step"] for line in log_of(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_gradient_that_is_infinite_stops(images, tmp_path):
    model = network()

    def steep(terms, variance):  # the loss is zero, its slope is not
        return {**terms, "l1": (terms["l1"] - terms["l1"].detach()).sqrt()}, variance

    model.at[2] = steep
    with pytest.raises(TrainingError, match="the gradient is not finite at step 3"):
        train(tmp_path, images, model)
    assert weights_of(model).isfinite().all()


def test_a_collapse_of_the_embeddings_stops_with_a_clear_word(images, tmp_path):
    model = network()
    model.at[5] = lambda terms, variance: (terms, variance * 0)  # one image, which proves nothing
    model.at[6] = lambda terms, variance: (terms, variance * 1e-7)
    with pytest.raises(TrainingError, match="the embeddings collapsed at step 7: their variance fell from"):
        train(tmp_path, images, model)


def test_too_little_memory_on_a_gpu_says_what_to_lower(images, tmp_path):
    model = network()

    def full(terms, variance):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.at[1] = full
    with pytest.raises(TrainingError, match=r"not enough for step 2; .* lower training.batch_size \(3\)"):
        train(tmp_path, images, model)


@pytest.fixture
def ctrl_c_interrupts():
    """As in a terminal; what a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def presses(times):
    def at(terms, variance):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return terms, variance

    return at


def test_ctrl_c_keeps_a_checkpoint_of_the_step_and_resuming_changes_nothing(images, tmp_path):
    model = network()
    model.at[5] = presses(1)
    with pytest.raises(TrainingInterrupted, match=r"interrupted after step 6 of 10; .*--resume"):
        train(tmp_path / "a", images, model)
    resumed, _ = train(tmp_path / "a", images)
    plain, _ = train(tmp_path / "b", images)
    assert torch.equal(weights_of(resumed), weights_of(plain))
    assert (tmp_path / "a/log.jsonl").read_bytes() == (tmp_path / "b/log.jsonl").read_bytes()


def test_a_second_ctrl_c_does_not_wait(images, tmp_path, ctrl_c_interrupts):
    model = network()
    model.at[5] = presses(2)
    with pytest.raises(KeyboardInterrupt) as raised:
        train(tmp_path, images, model)
    assert not isinstance(raised.value, TrainingInterrupted)


@pytest.mark.parametrize("step", range(9))
def test_a_training_cut_off_anywhere_resumes_to_the_bit(images, tmp_path, step):
    plain, end = train(tmp_path / "b", images, schedule="one-cycle")
    model = network()

    def cut(terms, variance):
        raise RuntimeError("cut off")

    model.at[step] = cut
    with pytest.raises(RuntimeError, match="cut off"):
        train(tmp_path / "a", images, model, schedule="one-cycle")
    resumed, state = train(tmp_path / "a", images, schedule="one-cycle")
    assert torch.equal(weights_of(resumed), weights_of(plain))
    assert (tmp_path / "a/log.jsonl").read_bytes() == (tmp_path / "b/log.jsonl").read_bytes()
    assert (state.best_epoch, state.best_loss, state.step) == (end.best_epoch, end.best_loss, 10)


def test_a_full_disk_ends_cleanly_and_room_lets_it_resume(images, tmp_path, monkeypatch):
    written = checkpoint.write_checkpoint

    def full(path, tensors, metadata):
        if metadata["state"]["step"] == 8:
            raise OSError(28, "No space left on device")
        written(path, tensors, metadata)

    monkeypatch.setattr(checkpoint, "write_checkpoint", full)
    with pytest.raises(TrainingError, match=r"No space left on device; the last good state, step 4, .*--resume"):
        train(tmp_path / "a", images)
    monkeypatch.undo()
    resumed, _ = train(tmp_path / "a", images)
    plain, _ = train(tmp_path / "b", images)
    assert torch.equal(weights_of(resumed), weights_of(plain))


def test_without_a_training_log_nothing_is_written(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = optimise(network(), images, settings(), 5, CPU)
    assert state.step == 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_graph_of_a_step_computes_what_its_kernels_compute_one_by_one(images, monkeypatch):
    """On both sizes of batch, the last one of an epoch being smaller; and the same in each run."""
    config = PaperConfig(image_size=SIDE, patch_size=4, width=32, depth=2, heads=4, mlp_width=48)
    weights = []
    for plain_steps in (2, 2, 1_000_000):
        monkeypatch.setattr(step_graph, "PLAIN_STEPS", plain_steps)
        torch.manual_seed(0)
        model = PaperModel(config, parse_objective(" + ".join(TERMS))).to("cuda")
        optimise(model, images, settings(steps=12), 5, torch.device("cuda"))
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        assert all(torch.equal(value, other[name]) for other in weights[1:]), name
