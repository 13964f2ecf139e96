"""Images for many epochs: kept in memory or decoded again, the same to the bit."""

import numpy as np
import pytest
import torch
from PIL import Image

from vtadl.data.cached_images import LEVELS, CachedImages, _floats, _floats_there
from vtadl.data.images import read_image
from vtadl.data.resizing import resize_image
from vtadl.data.training_images import TrainingImages
from vtadl.errors import DataError


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five images of 8 bits and, in the middle, one of 16."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(5):
        Image.fromarray(rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    Image.fromarray(rng.integers(0, 65536, (30, 41), dtype=np.uint16)).save(folder / "2b.png")
    return TrainingImages(paths=tuple(sorted(folder.iterdir())))


@pytest.mark.parametrize("side", [24, 64])
def test_kept_or_not_they_are_what_decoding_gives(images, side):
    size = 6 * 3 * side * side * 2
    kept, again = (
        CachedImages(images, (side, side), kept_bytes=size),
        CachedImages(images, (side, side), kept_bytes=size - 1),
    )
    assert kept.kept is not None
    assert again.kept is None
    batches = [[3, 0, 2], [5, 1, 4], [0]]
    for batch, one, other in zip(batches, kept.batches(batches), again.batches(batches), strict=True):
        expected = np.stack([resize_image(read_image(images.paths[index]), (side, side)) for index in batch])
        assert torch.equal(one, other)
        assert one.dtype == torch.float32
        assert np.abs(one.numpy() - expected).max() <= 0.51 / 65535


def test_files_are_used_as_they_are_where_no_resizing_rounds(images, tmp_path):
    pixels = read_image(images.paths[0])[:, :30]
    square = tmp_path / "square.bmp"
    Image.fromarray(pixels).save(square)
    (image,) = next(CachedImages(TrainingImages(paths=(square,)), (30, 30)).batches([[0]]))
    assert np.array_equal(image.permute(1, 2, 0), np.divide(pixels, 255, dtype=np.float32))


def test_kept_images_need_their_files_no_more(images, tmp_path):
    copy = tmp_path / "image.png"
    copy.write_bytes(images.paths[0].read_bytes())
    copied = TrainingImages(paths=(copy,))
    kept = CachedImages(copied, (24, 24))
    copy.unlink()
    assert len(next(kept.batches([[0]]))) == 1
    with pytest.raises(DataError, match=r"image\.png"):
        list(CachedImages(copied, (24, 24), kept_bytes=0).batches([[0]]))


def test_batches_made_on_a_device_are_the_same_to_the_bit():
    """As on a GPU, where images of 65,536 shades are divided as the CPU divides them."""
    levels = np.arange(2 * 3 * 128 * 128).astype(np.uint16).reshape(2, 3, 128, 128)
    there = torch.from_numpy(levels.view(np.int16)), torch.tensor(float(LEVELS))
    assert torch.equal(_floats_there(*there, [1, 0]), _floats(levels[[1, 0]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_moved_images_are_the_same_to_the_bit(images):
    kept = CachedImages(images, (24, 24))
    expected = next(kept.batches([[3, 0, 2]]))
    kept.move_to(torch.device("cuda"))
    (moved,) = kept.batches([[3, 0, 2]])
    assert moved.device.type == "cuda" and torch.equal(moved.cpu(), expected)
    kept.move_to(torch.device("cpu"))
    assert next(kept.batches([[0]])).device.type == "cpu"
