"""Polygons, run lengths and the JSON of labelme and COCO, against independent rasterisers."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from helpers.trees import COCO, LABELME, SIDE
from vtadl.data.annotations import read_annotations
from vtadl.data.mask_files import read_mask
from vtadl.data.polygons import fill_polygon, fill_runs
from vtadl.errors import DataError

SQUARE = np.zeros((SIDE, SIDE), bool)
SQUARE[4:8, 4:8] = True


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def packed(lengths):
    """COCO's string of run lengths, as maskApi.c's rleToString writes it."""
    text = ""
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def runs(mask):
    flat, lengths, last = mask.T.ravel(), [], False
    start = 0
    for place, value in enumerate(flat):
        if value != last:
            lengths.append(place - start)
            start, last = place, value
    return [*lengths, len(flat) - start]


class TestPolygons:
    def test_a_square_covers_the_pixels_between_its_corners(self):
        assert np.array_equal(fill_polygon(np.array([[4, 4], [8, 4], [8, 8], [4, 8]], float), (SIDE, SIDE)), SQUARE)

    @pytest.mark.parametrize("seed", range(20))
    def test_any_polygon_is_as_another_rasteriser_fills_it(self, seed):
        rng = np.random.default_rng(seed)
        points = rng.uniform(-5, 45, (int(rng.integers(3, 9)), 2))
        # There, a pixel's centre has whole numbers.
        expected = polygon2mask((40, 30), points[:, ::-1] - 0.5)
        assert np.array_equal(fill_polygon(points, (40, 30)), expected)

    def test_a_hairline_is_not_lost(self):
        mask = fill_polygon(np.array([[2.1, 3.1], [9.9, 3.1], [9.9, 3.2]]), (SIDE, SIDE))
        assert mask.any() and mask[3].sum() == mask.sum()

    def test_what_lies_outside_the_image_is_cut(self):
        assert fill_polygon(np.array([[-9.0, -9], [99, -9], [99, 99], [-9, 99]]), (7, 5)).all()
        assert not fill_polygon(np.array([[20.0, 20], [30, 20], [30, 30]]), (7, 5)).any()

    @pytest.mark.parametrize("seed", range(5))
    def test_run_lengths_plain_and_packed(self, seed):
        mask = np.random.default_rng(seed).random((37, 23)) < 0.3
        lengths = runs(mask)
        assert np.array_equal(fill_runs(lengths, mask.shape), mask)
        assert np.array_equal(fill_runs(packed(lengths), mask.shape), mask)

    def test_run_lengths_that_cannot_be(self):
        with pytest.raises(ValueError, match="sum to 5, not to 3x2"):
            fill_runs([2, 3], (2, 3))
        with pytest.raises(ValueError, match="the character"):
            fill_runs("\x01", (2, 3))


class TestLabelme:
    @pytest.mark.parametrize(
        "shape",
        [
            {"points": [[4, 4], [8, 4], [8, 8], [4, 8]], "shape_type": "polygon"},
            {"points": [[4, 4], [8, 4], [8, 8], [4, 8]]},
            {"points": [[8, 8], [4, 4]], "shape_type": "rectangle"},
            {"points": [[4, 4], [8, 4], [8, 8], [4, 8]], "shape_type": "rectangle"},
        ],
    )
    def test_shapes_with_an_area(self, shape, tmp_path):
        path = write(tmp_path / "0.json", {**LABELME, "shapes": [shape]})
        assert np.array_equal(read_mask(path, (SIDE, SIDE)), SQUARE)

    def test_circles_and_masks(self, tmp_path):
        circle = {"points": [[6, 6], [6, 8]], "shape_type": "circle"}
        found = read_mask(write(tmp_path / "0.json", {**LABELME, "shapes": [circle]}), (SIDE, SIDE))
        rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
        assert np.array_equal(found, np.hypot(rows - 6, columns - 6) <= 2) and found.sum() == 12
        file = io.BytesIO()
        Image.new("1", (4, 4), 1).save(file, "PNG")
        drawn = {"points": [[4, 4], [7, 7]], "shape_type": "mask", "mask": base64.b64encode(file.getvalue()).decode()}
        path = write(tmp_path / "1.json", {**LABELME, "shapes": [drawn]})
        assert np.array_equal(read_mask(path, (SIDE, SIDE)), SQUARE)

    def test_a_file_without_a_size_has_its_images(self, tmp_path):
        path = write(tmp_path / "0.json", {**LABELME, "imageHeight": None, "imageWidth": None})
        assert np.array_equal(read_mask(path, (SIDE, SIDE)), SQUARE)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"shapes": [{"points": [[1, 1]], "shape_type": "point"}]}, "shape_type point, where a polygon"),
            ({"shapes": [{"points": [[1, 1], [2, 2]], "shape_type": "line"}]}, "shape_type line"),
            ({"shapes": [{"points": [[1, 1], [2, 2]]}]}, "a polygon of 2 points"),
            ({"shapes": [{"points": [["a", 1], [2, 2], [3, 3]]}]}, "could not convert"),
            ({"shapes": [{"points": [[0, 0], [1e30, 2], [3, 3]]}]}, "far outside"),
            ({"shapes": [{"label": "cut"}]}, "'points'"),
            ({"imageHeight": 10**6, "imageWidth": 10**6}, "an image of 1000000x1000000 pixels"),
            ({"imageHeight": 32}, "is 16x32 but its image is 16x16"),
            ({"imageHeight": 16, "imageWidth": 8}, "is 8x16 but its image is 16x16"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, change, said, tmp_path):
        path = write(tmp_path / "0.json", {**LABELME, **change})
        with pytest.raises(DataError, match=said) as caught:
            read_mask(path, (SIDE, SIDE))
        assert "0.json" in str(caught.value) and "\n" not in str(caught.value)


class TestCoco:
    def read(self, path, name="test/cut/002.png", size=(SIDE, SIDE)):
        return read_mask(path, size, path.parent / name)

    @pytest.mark.parametrize(
        "segmentation",
        [
            COCO["annotations"][0]["segmentation"],
            [[4, 4, 8, 4, 8, 6, 4, 6], [4, 6, 8, 6, 8, 8, 4, 8]],
            {"size": [SIDE, SIDE], "counts": runs(SQUARE)},
            {"size": [SIDE, SIDE], "counts": packed(runs(SQUARE))},
        ],
    )
    def test_polygons_and_run_lengths(self, segmentation, tmp_path):
        content = {**COCO, "annotations": [{"image_id": 1, "segmentation": segmentation}]}
        assert np.array_equal(self.read(write(tmp_path / "a.json", content)), SQUARE)

    def test_several_annotations_are_one_mask_and_none_an_empty_one(self, tmp_path):
        more = {"image_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
        path = write(tmp_path / "a.json", {**COCO, "annotations": [*COCO["annotations"], more]})
        assert self.read(path).sum() == 16 + 4
        assert not self.read(path, "test/good/001.png").any()

    @pytest.mark.parametrize("name", ["002.png", "cut/002.png", "test\\cut\\002.png"])
    def test_names_may_have_fewer_folders_or_be_of_windows(self, name, tmp_path):
        images = [{**COCO["images"][0], "file_name": name}]
        assert np.array_equal(self.read(write(tmp_path / "a.json", {**COCO, "images": images})), SQUARE)

    def test_numbers_of_images_may_be_written_as_text(self, tmp_path):
        drawn = [{**COCO["annotations"][0], "image_id": "1"}]
        assert np.array_equal(self.read(write(tmp_path / "a.json", {**COCO, "annotations": drawn})), SQUARE)

    def test_the_longest_name_wins(self, tmp_path):
        images = [{**COCO["images"][1], "file_name": "002.png"}, COCO["images"][0]]
        assert self.read(write(tmp_path / "a.json", {**COCO, "images": images})).sum() == 16

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"images": []}, "names no image '002.png'"),
            ({"images": [COCO["images"][0]] * 2}, "several entries for 'test/cut/002.png'"),
            ({"images": [{"id": 1}]}, "'file_name'"),
            ({"images": [{**COCO["images"][0], "height": 8}]}, "is 16x8 but its image is 16x16"),
            ({"annotations": [{"image_id": 1, "segmentation": []}]}, "without a segmentation, such as a box alone"),
            ({"annotations": [{"image_id": 1, "bbox": [0, 0, 4, 4]}]}, "without a segmentation"),
            ({"annotations": [{"image_id": 1, "segmentation": [[1, 1, 2, 2, 3]]}]}, "a polygon of 5 numbers"),
            ({"annotations": [{"image_id": 1, "segmentation": {"size": [4, 4], "counts": [16]}}]}, r"run lengths of"),
            ({"annotations": None}, "export them again"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, change, said, tmp_path):
        path = write(tmp_path / "a.json", {**COCO, **change})
        with pytest.raises(DataError, match=said) as caught:
            self.read(path)
        assert "a.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"shapes": 3}', "[" * 100_000, '{"images": [], "categories": []}']
)
def test_files_that_are_no_annotations(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_annotations(path)


def test_a_file_that_changes_is_read_again(tmp_path):
    path = write(tmp_path / "0.json", LABELME)
    assert read_mask(path, None).sum() == 16
    write(path, {**LABELME, "shapes": []})
    assert not read_mask(path, None).any()
