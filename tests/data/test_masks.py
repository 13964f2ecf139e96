"""Masks that are not what they should be: each is warned of by name, and sound ones are not."""

import re

import numpy as np
import pytest
from PIL import Image

from vtadl.data.mask_files import read_mask_values
from vtadl.data.masks import mask_warnings, summarize_mask

DEFECT = np.zeros((20, 24), np.uint8)
DEFECT[4:9, 4:9] = 1


def warned(folder, masks, **how):
    summaries = []
    for number, mask in enumerate(masks):
        path = folder / f"{number}.png"
        Image.fromarray(np.asarray(mask, np.uint8)).save(path)
        summaries.append(summarize_mask(path, read_mask_values(path, None), **how))
    return mask_warnings(summaries)


@pytest.mark.parametrize("scale", [1, 128, 255])
def test_sound_masks(tmp_path, scale):
    assert warned(tmp_path, [DEFECT * scale, np.roll(DEFECT, 5) * scale]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: 255 * (1 - m), r"2 of 2 masks .*cover more than half of their image"),
        (lambda m: 0 * m, r"2 of 2 masks .*are empty"),
    ],
)
def test_inverted_and_empty_ones(tmp_path, change, message):
    (line,) = warned(tmp_path, [change(DEFECT), change(DEFECT)])
    assert re.match(message, line)


def test_a_background_that_is_not_black(tmp_path):
    lines = warned(tmp_path, [np.where(DEFECT, 2, 1)] * 2)
    assert "cover more than half" in lines[0]
    assert lines[1].startswith("the value 1 touches the border all around in every mask")


def test_a_void_label_is_named(tmp_path):
    void = DEFECT.copy()
    void[:3] = void[-3:] = 255
    lines = warned(tmp_path, [void, np.where(void == 255, 255, np.roll(DEFECT, 3))])
    assert lines[0].startswith("the value 255 touches the border all around in every mask")
    assert "hold several values (1, 255)" in lines[1]


@pytest.mark.parametrize(("plain", "where"), [(0, "every mask"), (1, "2 of 3 masks")])
def test_a_void_border_of_the_defects_own_value_is_named(plain, where, tmp_path):
    masks = [255 * np.roll(DEFECT, number) for number in range(3)]
    for mask in masks[plain:]:
        mask[:2] = mask[-2:] = mask[:, :2] = mask[:, -2:] = 255
    (line,) = warned(tmp_path, masks)
    assert line.startswith(f"the value 255 touches the border all around in {where}, '{tmp_path / f'{plain}.png'}' for")


def test_one_large_defect_is_no_void_border(tmp_path):
    large = 255 * DEFECT
    large[10, :] = large[:, 12] = 255
    assert warned(tmp_path, [large]) == [] == warned(tmp_path, [large, *[255 * DEFECT] * 2])


def test_labels_of_classes(tmp_path):
    (line,) = warned(tmp_path, [DEFECT + 2 * np.roll(DEFECT, 10)])
    assert "hold several values (1, 2), as labels of classes are" in line


def test_masks_touched_by_interpolation_are_named(tmp_path):
    resized = np.asarray(Image.fromarray(255 * DEFECT).resize((31, 31), Image.Resampling.BILINEAR))
    (line,) = warned(tmp_path, [255 * DEFECT, resized])
    assert line.startswith(f"1 of 2 masks have grey levels, '{tmp_path / '1.png'}' for one")


@pytest.mark.parametrize("palette", [[0] * 9, [0, 0, 0, 250, 0, 0, 0, 0, 0], [0, 0, 0, 9, 9, 9]])
def test_labels_whose_palette_shows_some_of_them_black(palette, tmp_path):
    labels = DEFECT + 2 * np.roll(DEFECT, 10)
    image = Image.fromarray(labels, "P")
    image.putpalette(palette)
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_mask_values(tmp_path / "m.png", None) != 0, labels != 0)


def test_photos_with_an_orientation(tmp_path):
    (line,) = warned(tmp_path, [DEFECT], turned=True)
    assert "1 of 1 masks" in line and "EXIF orientation turns upright" in line
