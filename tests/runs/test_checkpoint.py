"""Checkpoints: safetensors as others read it, whole or not there, and damage that is noticed."""

import json
import os
import resource
import shutil
import subprocess

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from vtadl.errors import BundleError, TrainingError
from vtadl.runs.checkpoint import (
    CHECKPOINT_FILE,
    LOG_FILE,
    Conditions,
    TrainingLog,
    TrainingState,
    read_checkpoint,
    read_metadata,
    write_checkpoint,
)

CONDITIONS = Conditions(config="x = 1", images=3, content_sha256="0", torch="2", threads=1, processes=1, device="cpu")


def model_and_optimizer(width=4):
    torch.manual_seed(width)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.rand(5, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def saved(tmp_path):
    """A folder with a checkpoint of step 2 and a log of three lines, one of them written since."""
    model, optimizer = model_and_optimizer()
    with TrainingLog(tmp_path, CONDITIONS) as training_log:
        training_log.log({"step": 1})
        training_log.log({"step": 2})
        training_log.save(model, optimizer, TrainingState(step=2, best_loss=0.1 + 0.2))
        training_log.log({"step": 3})
    return tmp_path, model, optimizer


def test_other_readers_of_safetensors_read_it(tmp_path):
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
        "b": torch.tensor(7),
        "c": torch.rand(3, dtype=torch.float64).bfloat16(),
        "d": torch.tensor([True, False]),
        "e": torch.zeros(0, 4, dtype=torch.float16),
    }
    write_checkpoint(tmp_path / "x.safetensors", tensors, {"step": 3})
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(tensors)
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor)
            assert file.get_tensor(name).dtype == tensor.dtype
    assert read_metadata(tmp_path / "x.safetensors") == {"step": 3}


def test_everything_comes_back_and_the_log_is_cut_to_the_checkpoint(saved):
    folder, model, optimizer = saved
    generator = torch.get_rng_state()
    other, empty = model_and_optimizer(), None
    other[0][0].weight.data.zero_()
    empty = torch.optim.Adam(other[0].parameters(), lr=0.1)
    torch.manual_seed(99)
    with TrainingLog(folder, CONDITIONS) as training_log:
        state = training_log.restore(other[0], empty)
        training_log.log({"step": 3})
    assert state == TrainingState(step=2, best_loss=0.1 + 0.2, log_bytes=24)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), other[0].state_dict().values(), strict=True)
    )
    for before, after in zip(optimizer.state.values(), empty.state.values(), strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(torch.get_rng_state(), generator)
    assert (folder / LOG_FILE).read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_a_failed_write_keeps_the_last_checkpoint(saved, monkeypatch):
    folder, model, optimizer = saved
    before = (folder / CHECKPOINT_FILE).read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with TrainingLog(folder, CONDITIONS) as training_log, pytest.raises(TrainingError, match="No space left on device"):
        training_log.save(model, optimizer, TrainingState(step=3))
    assert (folder / CHECKPOINT_FILE).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [CHECKPOINT_FILE, LOG_FILE]


def test_a_file_size_limit_is_an_error_and_not_a_signal(saved):
    folder, model, optimizer = saved
    before = (folder / CHECKPOINT_FILE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with (
            TrainingLog(folder, CONDITIONS) as training_log,
            pytest.raises(TrainingError, match=r"cannot write .*too large"),
        ):
            training_log.save(model, optimizer, TrainingState(step=3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / CHECKPOINT_FILE).read_bytes() == before


def test_a_disk_that_is_really_full(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(mount)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("this user cannot mount a small disk")
    try:
        model, optimizer = model_and_optimizer()
        with TrainingLog(mount, CONDITIONS) as training_log:
            training_log.log({"step": 1})
            training_log.save(model, optimizer, TrainingState(step=1))
            (mount / "filler").write_bytes(b"x" * 16_000)
            with pytest.raises(TrainingError, match="No space left on device; the last good state, step 1, is kept"):
                training_log.save(model, optimizer, TrainingState(step=2))
        assert read_metadata(mount / CHECKPOINT_FILE)["state"]["step"] == 1
        (mount / "filler").unlink()
        with TrainingLog(mount, CONDITIONS) as training_log:
            assert training_log.restore(model, optimizer).step == 1
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_what_a_kill_left_behind_is_overwritten(saved):
    folder, model, optimizer = saved
    (folder / f".{CHECKPOINT_FILE}.partial").write_bytes(b"half")
    with TrainingLog(folder, CONDITIONS) as training_log:
        training_log.save(model, optimizer, TrainingState(step=3))
    assert sorted(path.name for path in folder.iterdir()) == [CHECKPOINT_FILE, LOG_FILE]


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_named(saved, keep):
    path = saved[0] / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"checkpoint.safetensors' is damaged: .*--force"):
        read_checkpoint(path)


def test_a_checkpoint_of_another_version_is_named(saved):
    tensors, metadata = read_checkpoint(saved[0] / CHECKPOINT_FILE)
    save_file(tensors, saved[0] / CHECKPOINT_FILE, {"vtadl": json.dumps(metadata)})  # as format 1 was written
    with (
        TrainingLog(saved[0], CONDITIONS) as training_log,
        pytest.raises(BundleError, match=r"has format 1, .* expected format 2: finish it with that version"),
    ):
        training_log.restore(saved[1], saved[2])


def test_a_checkpoint_of_another_model_is_refused(saved):
    model, optimizer = model_and_optimizer(width=5)
    with TrainingLog(saved[0], CONDITIONS) as training_log, pytest.raises(BundleError, match="is damaged"):
        training_log.restore(model, optimizer)


def test_a_log_shorter_than_its_checkpoint_is_refused(saved):
    folder, model, optimizer = saved
    (folder / LOG_FILE).write_text("")
    with (
        TrainingLog(folder, CONDITIONS) as training_log,
        pytest.raises(BundleError, match="shorter than its checkpoint"),
    ):
        training_log.restore(model, optimizer)


def test_a_reader_among_several_processes_writes_nothing(saved):
    folder, model, optimizer = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with TrainingLog(folder, CONDITIONS, writes=False) as training_log:
        assert training_log.restore(model, optimizer).step == 2
        training_log.log({"step": 3})
        training_log.save(model, optimizer, TrainingState(step=3))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
