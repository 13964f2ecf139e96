"""Embeddings for many epochs: in memory or on disk, the same to the bit, and nothing stays behind."""

import tempfile

import numpy as np
import pytest
import torch

from vtadl.data.embeddings import RepeatedEmbeddings

SHAPE = (7, 5, 3, 3)
SIZE = 4 * int(np.prod(SHAPE))
BATCHES = [[3, 0, 2], [6, 1, 4], [0], [5, 5]]


@pytest.fixture
def values():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def kept(values, size):
    return RepeatedEmbeddings(iter(values.split(3)), len(values), kept_bytes=size)


def test_in_memory_or_on_disk_they_are_the_same(values, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mapped, memmap = [], np.memmap
    monkeypatch.setattr(np, "memmap", lambda *args, **keys: mapped.append(args) or memmap(*args, **keys))
    memory = kept(values, SIZE)
    assert not mapped
    disk = kept(values, SIZE - 1)
    assert len(mapped) == 1
    assert len(memory) == len(disk) == 7
    for batch, one, other in zip(BATCHES, memory.batches(BATCHES), disk.batches(BATCHES), strict=True):
        assert torch.equal(one, values[batch])
        assert torch.equal(other, one)
        assert one.dtype == torch.float32
    assert list(tmp_path.iterdir()) == []  # no name that a kill could leave


def test_what_is_given_can_be_changed_without_harm(values):
    for size in (SIZE, 0):
        embeddings = kept(values, size)
        next(embeddings.batches([[1]])).zero_()
        assert torch.equal(next(embeddings.batches([[1]]))[0], values[1])


def test_nothing_is_nothing():
    embeddings = RepeatedEmbeddings(iter(()), 0)
    assert len(embeddings) == 0
    assert list(embeddings.batches([])) == []
