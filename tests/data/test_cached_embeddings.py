"""Embeddings for many epochs: in memory or on disk, the same to the bit, and nothing stays behind."""

import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch

from vtadl.data.cached_embeddings import CachedEmbeddings

SHAPE = (7, 5, 3, 3)
SIZE = 4 * int(np.prod(SHAPE))
BATCHES = [[3, 0, 2], [6, 1, 4], [0], [5, 5]]


@pytest.fixture
def values():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def kept(values, size):
    return CachedEmbeddings(iter(values.split(3)), len(values), kept_bytes=size)


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


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path):
    """On a file system of 1 MB: writing to a mapping that finds no room there ends a process by SIGBUS."""
    imports = "from vtadl.data.cached_embeddings import CachedEmbeddings"
    code = f"import tempfile, torch; tempfile.tempdir = '{{}}'; {imports}; {{}}"
    work = "CachedEmbeddings(iter([torch.ones(8, 512, 32, 32)]), 8, kept_bytes=0)"
    command = (
        f"mount -t tmpfs -o size=1m none '{tmp_path}' && exec '{sys.executable}' -c \"{code.format(tmp_path, work)}\""
    )
    try:
        done = subprocess.run(["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare on this system")
    if "vtadl" not in done.stderr and done.returncode in (1, 32):
        pytest.skip(f"no file system of our own: {done.stderr.strip()}")
    assert done.returncode == 1
    assert "no 0.0 GB for embeddings in" in done.stderr and "No space left on device; make room" in done.stderr


def test_what_is_given_can_be_changed_without_harm(values):
    for size in (SIZE, 0):
        embeddings = kept(values, size)
        next(embeddings.batches([[1]])).zero_()
        assert torch.equal(next(embeddings.batches([[1]]))[0], values[1])


def test_nothing_is_nothing():
    embeddings = CachedEmbeddings(iter(()), 0)
    assert len(embeddings) == 0
    assert list(embeddings.batches([])) == []
