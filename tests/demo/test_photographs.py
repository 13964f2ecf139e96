"""The photographs in the package are a category that trains, with exact masks, and can be copied."""

import pytest

from vtadl.data.images import read_image
from vtadl.data.integrity import look_over
from vtadl.data.layouts import read_category
from vtadl.data.mask_files import read_mask
from vtadl.demo.photographs import ATTRIBUTION, CATEGORY, PHOTOGRAPHS, copy_demo, sample_photographs
from vtadl.errors import DataError


def test_the_copy_is_a_category_with_masks_and_without_problems(tmp_path):
    category = read_category(copy_demo(tmp_path / "images"))
    assert category.layout == "mvtec"
    assert len(category.train) == 40
    defective = [sample for sample in category.test if sample.is_defective]
    assert (len(category.test), len(defective)) == (20, 10)
    assert look_over(category.samples)[0] == []
    for sample in defective:
        image = read_image(sample.path)
        mask = read_mask(sample.mask, image.shape[:2])
        assert mask.shape == image.shape[:2] == (342, 512)
        assert 0 < mask.mean() < 0.1
    # No image is there twice, so none is learnt from and tested on.
    assert len({path.read_bytes() for path in tmp_path.rglob("*.jpg")}) == 60


def test_the_copies_are_the_users(tmp_path):
    (file, *_) = (copy_demo(tmp_path) / "train/good").iterdir()
    file.write_bytes(b"mine")
    with pytest.raises(DataError, match=f"cannot write '{tmp_path / CATEGORY}'"):
        copy_demo(tmp_path)
    assert file.read_bytes() == b"mine"


def test_they_are_small_and_say_whose_they_are():
    files = [path for path in PHOTOGRAPHS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    said = (PHOTOGRAPHS.parent / "ATTRIBUTION.md").read_text()
    for words in ("CC BY 4.0", "ECCV 2022", "512 x 342"):
        assert words in said
        assert words in ATTRIBUTION
    good, bad = sample_photographs()
    assert good.parent.name == "good"
    assert bad.parent.name == "bad"
