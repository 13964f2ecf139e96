"""Suspects among the good images: what a detector that had not seen them finds least usual."""

import numpy as np
import pytest
from PIL import Image

from vtadl.commands.info_learned import learned_lines
from vtadl.data.hashing import content_hash
from vtadl.errors import DataError


@pytest.fixture
def images(tmp_path):
    for name in ("a", "b", "c"):
        Image.fromarray(np.full((8, 8), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def record_of(images, scores):
    sha256 = [content_hash(images / f"{name}.png") for name in scores]
    return {"held_out": {"scores": list(scores.values()), "sha256": sha256}, "source": {"trained_on": 9}}


def test_the_least_usual_comes_first_by_its_name(images):
    record = record_of(images, {"a": 1.0, "b": 3.0, "c": 2.0})
    title, *lines, hint = learned_lines(record, None, {"category_folder": str(images)})
    assert "3 good images" in title and "--cross-fit" in hint
    assert [line.split() for line in lines] == [
        ["3", str(images / "b.png")],
        ["2", str(images / "c.png")],
        ["1", str(images / "a.png")],
    ]


def test_images_that_are_gone_have_their_checksum(images):
    _, line, _ = learned_lines(record_of(images, {"a": 1.0}), None, {})
    assert content_hash(images / "a.png")[:12] in line


def test_without_scores_it_says_how_to_get_them(images):
    with pytest.raises(DataError, match="run vtadl calibrate first"):
        learned_lines(record_of(images, {}), None, {})
