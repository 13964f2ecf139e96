"""The shape that images have in common, from their headers."""

import numpy as np
import pytest
from PIL import Image

from vtadl.data.aspect import common_aspect
from vtadl.errors import DataError


@pytest.fixture
def saved(tmp_path):
    def save(*sizes):
        paths = [tmp_path / f"{number:03}.png" for number in range(len(sizes))]
        for path, (width, height) in zip(paths, sizes, strict=True):
            Image.new("L", (width, height)).save(path)
        return paths

    return save


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(252, 100)] * 5, 2.52),
        ([(100, 252)] * 5, 0.3968),
        ([(252, 100)], 2.52),
        ([(64, 64)], 1.0),
        ([(109, 100)] * 4, 1.0),  # nearly square
        ([(111, 100)] * 4, 1.11),
        ([(100, 109)] * 4, 1.0),
        ([(100, 112)] * 4, 0.8929),
        ([(200, 100)] * 9 + [(100, 100)], 2.0),  # nine of ten
        ([(200, 100)] * 8 + [(100, 100)] * 2, 1.0),
        ([(200, 100)] * 5 + [(208, 100)] * 4, 2.0),  # within 5 %
        ([(200, 100)] * 5 + [(212, 100)] * 4, 1.0),
        ([(200, 100), (100, 200)], 1.0),
        ([(1500, 100)] * 3, 10.0),
        ([(100, 1500)] * 3, 0.1),
    ],
)
def test_values(saved, sizes, expected):
    assert common_aspect(saved(*sizes)) == expected


def test_nothing_is_decoded_and_what_is_no_image_is_named(saved, tmp_path):
    paths = saved(*[(252, 100)] * 3)
    noise = np.random.default_rng(0).integers(0, 256, (100, 252), dtype=np.uint8)
    Image.fromarray(noise).save(paths[0])
    paths[0].write_bytes(paths[0].read_bytes()[:2000])  # its pixels are cut off
    assert common_aspect(paths) == 2.52
    paths[1].write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"001.png"):
        common_aspect(paths)


def test_turned_by_exif_they_are_as_they_are_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (252, 100)).save(tmp_path / "a.jpg", exif=exif)
    assert common_aspect([tmp_path / "a.jpg"]) == 0.3968
