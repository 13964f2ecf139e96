import gc
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import vtadl.data.loading as loading
from vtadl.data.images import read_image
from vtadl.data.loading import fitting_batch, load_images
from vtadl.data.resizing import resize_image
from vtadl.errors import DataError


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    made = [tmp_path / f"{i}.png" for i in range(11)]
    for i, path in enumerate(made):
        Image.fromarray(rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)).save(path)
    return made


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    gc.collect()
    assert not decoding_threads()


def decoding_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("vtadl-decode")]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 11, 50])
def test_every_image_once_in_order(paths, workers, batch_size):
    batches = list(load_images(paths, (16, 24), batch_size=batch_size, workers=workers))
    assert [index for batch in batches for index in batch.indices] == list(range(11))
    assert [size for batch in batches for size in batch.sizes] == [(20 + i, 30) for i in range(11)]
    assert {len(batch.indices) for batch in batches[:-1]} <= {batch_size}
    assert all(batch.originals is None for batch in batches)
    images = torch.cat([batch.images for batch in batches])
    expected = np.stack([resize_image(read_image(path), (16, 24)) for path in paths])
    np.testing.assert_array_equal(images.numpy(), expected)
    assert images.dtype == torch.float32


def test_originals(paths):
    for batch in load_images(paths, (8, 8), batch_size=4, keep_originals=True):
        assert len(batch.originals) == len(batch.indices)
        for index, original in zip(batch.indices, batch.originals, strict=True):
            np.testing.assert_array_equal(original, read_image(paths[index]))


def test_no_paths():
    assert list(load_images([], (8, 8), batch_size=4)) == []


def test_the_first_bad_file_raises(paths):
    paths[5].write_text("no image")
    paths[7].write_bytes(b"")
    seen = []
    with pytest.raises(DataError, match=r"5\.png' is not an image"):
        seen.extend(index for batch in load_images(paths, (8, 8), batch_size=2) for index in batch.indices)
    assert seen == [0, 1, 2, 3]
    assert not decoding_threads()


def test_bad_files_are_reported_in_order_and_skipped(paths):
    for i in (0, 5, 6, 10):
        paths[i].write_text("no image")
    reported = []

    def report(path, error):
        assert threading.current_thread() is threading.main_thread()
        reported.append((path, str(error)))

    batches = list(load_images(paths, (8, 8), batch_size=3, on_error=report))
    assert [batch.indices for batch in batches] == [[1, 2, 3], [4, 7, 8], [9]]
    assert [path for path, _ in reported] == [paths[i] for i in (0, 5, 6, 10)]
    assert all("is not an image" in message for _, message in reported)


def test_only_bad_files(paths):
    for path in paths:
        path.write_bytes(b"")
    assert list(load_images(paths, (8, 8), batch_size=3, on_error=lambda *_: None)) == []


class TestConcurrency:
    @pytest.fixture
    def started(self, monkeypatch):
        """Files whose decoding has started; each takes 20 ms."""
        started = []

        def slow(path):
            started.append(path)
            time.sleep(0.02)
            return np.zeros((4, 4, 3), np.uint8)

        monkeypatch.setattr(loading, "read_image", slow)
        return started

    def test_decoding_runs_ahead_but_not_far(self, tmp_path, started):
        batches = load_images([tmp_path] * 100, (4, 4), batch_size=2, workers=2)
        assert not started
        next(batches)
        time.sleep(0.3)
        assert 2 < len(started) <= 2 + 2 * 2
        batches.close()

    @pytest.mark.parametrize("stop", ["close", "drop", "raise"])
    def test_threads_end_when_the_consumer_stops(self, tmp_path, started, stop):
        batches = load_images([tmp_path] * 1000, (4, 4), batch_size=8, workers=2)
        next(batches)
        assert decoding_threads()
        if stop == "close":
            batches.close()
        elif stop == "drop":
            del batches
        else:
            with pytest.raises(RuntimeError, match="the model failed"):
                consume_and_fail(batches)
            del batches
        gc.collect()
        assert not decoding_threads()
        assert len(started) < 100  # Of a thousand; counted, because a busy machine's clock proves nothing.


def consume_and_fail(batches):
    for _ in batches:
        raise RuntimeError("the model failed")


def test_of_very_large_images_fewer_are_held_at_once():
    assert fitting_batch((512, 512), 8) == 8
    assert fitting_batch((2048, 2048), 8) == 2
    assert fitting_batch((4096, 4096), 8) == 1
