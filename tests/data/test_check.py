import json
import os
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from vtadl.data.check import check_category
from vtadl.data.findings import PUBLISHED_COUNTS
from vtadl.data.integrity import empty_classes, look_over
from vtadl.data.layouts import read_category


@pytest.fixture
def root(tmp_path):
    """A sound category in MVTec layout: 12 good images to train on, 3 good and 4 defective ones to test."""
    rng = np.random.default_rng(0)

    def image(name, size=(20, 30)):
        path = tmp_path / "part" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)

    for i in range(12):
        image(f"train/good/{i:03}.png")
    for i in range(3):
        image(f"test/good/{i:03}.png")
    for defect in ("cut", "dent"):
        for i in range(2):
            image(f"test/{defect}/{i:03}.png")
            mask = np.zeros((20, 30), np.uint8)
            mask[5:9, 5:9] = 255
            path = tmp_path / "part" / f"ground_truth/{defect}/{i:03}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return tmp_path / "part"


def check(root):
    return check_category(read_category(root))


def only(findings):
    assert len(findings) == 1, findings
    assert "\n" not in findings[0]
    return findings[0]


def test_a_sound_category(root):
    report = check(root)
    assert report.errors == [] and report.warnings == []
    assert report.counts == {"train": {"good": 12}, "test": {"good": 3, "cut": 2, "dent": 2}}
    assert report.sizes == {"30x20": 19}
    assert report.bit_depths == {8: 19}
    assert report.masks == {"expected": 4, "found": 4, "empty": 0}
    assert report.lines()[-1] == "no problems found"
    assert look_over(report.category.samples)[0] == []


@pytest.mark.parametrize("function", [check_category, look_over])
def test_progress(root, function):
    told = []

    @contextmanager
    def record(label, total):
        told.append((label, total))
        yield lambda count, note="": told.append(count)

    category = read_category(root)
    function(category if function is check_category else category.samples, progress=record)
    assert told == [("checking", 19), *[1] * 19]


def test_json(root):
    values = json.loads(json.dumps(check(root).to_json()))
    assert values["category"] == "part" and values["layout"] == "mvtec"
    assert values["counts"]["test"]["cut"] == 2
    assert values["bit_depths"] == {"8": 19}
    assert values["errors"] == values["warnings"] == []


class TestErrors:
    """What training or evaluation would stop on; `look_over` finds the same ones."""

    def damage(self, root, how):
        path = root / "test/cut/000.png"
        if how == "truncated":
            path.write_bytes(path.read_bytes()[:-200])
        elif how == "text":
            path.write_text("not a picture")
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "mask size":
            Image.new("L", (100, 80)).save(root / "ground_truth/cut/000_mask.png")
        elif how == "no mask":
            (root / "ground_truth/cut/000_mask.png").unlink()
        elif how == "damaged mask":
            (root / "ground_truth/cut/000_mask.png").write_text("not a mask")

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ("truncated", r"cannot decode '.*cut/000\.png'"),
            ("text", r"cut/000\.png' is not an image"),
            ("empty", r"cut/000\.png' is empty \(zero bytes\)"),
            ("mask size", r"mask '.*cut/000_mask\.png' is 100x80 but its image is 30x20"),
            ("no mask", r"defective image '.*cut/000\.png' has no mask; expected '.*ground_truth/cut/000_mask\.png'"),
            ("damaged mask", r"cut/000_mask\.png' is not an image"),
        ],
    )
    def test_unusable_image_or_mask(self, root, how, message):
        self.damage(root, how)
        report = check(root)
        assert report.warnings == []
        assert re.search(message, only(report.errors))
        ((sample, error),) = look_over(report.category.samples)[0]
        assert sample.path == root / "test/cut/000.png"
        assert str(error) == report.errors[0]

    def test_all_problems_are_listed(self, root):
        (root / "train/good/003.png").write_text("not a picture")
        self.damage(root, "mask size")
        category = read_category(root)
        assert [sample.path.name for sample, _ in look_over(category.samples)[0]] == ["000.png", "003.png"]
        assert [sample.path.name for sample, _ in look_over(category.train)[0]] == ["003.png"]

    def test_empty_classes(self, root):
        (root / "test/scratch").mkdir()
        message = only(check(root).errors)
        assert message.endswith("test/scratch' holds no images; put some there or remove the folder")
        assert [str(error) for error in empty_classes(read_category(root))] == [message]

    def test_nothing_to_train_on(self, root):
        shutil.rmtree(root / "train")
        assert "has no images to train on" in only(check(root).errors)


class TestWarnings:
    def test_empty_mask(self, root):
        Image.new("L", (30, 20)).save(root / "ground_truth/dent/001_mask.png")
        report = check(root)
        assert "dent/001.png' is empty: no pixel is defective" in only(report.warnings)
        assert report.masks["empty"] == 1

    def test_orphan_mask_and_stray_files(self, root):
        shutil.copy(root / "ground_truth/cut/000_mask.png", root / "ground_truth/cut/077_mask.png")
        (root / "train/good/Thumbs.db").write_text("")
        (root / "readme.txt").write_text("about the set")
        (root / "train/bad").mkdir()
        shutil.copy(root / "train/good/000.png", root / "train/bad/000.png")
        assert sorted(check(root).warnings) == [
            "files in 'ground_truth/cut' are masks of no image here: 1, such as '077_mask.png'",
            "files in 'train/bad' are images outside this layout, and left out: 1, such as '000.png'",
            "files in 'train/good' are no images by their names, and left out: 1, such as 'Thumbs.db'",
        ]

    def test_black_masks_of_good_images_are_no_finding(self, root):
        (root / "ground_truth/good").mkdir()
        Image.new("L", (30, 20)).save(root / "ground_truth/good/000_mask.png")
        assert check(root).warnings == []

    def test_overlap_of_training_and_test(self, root):
        shutil.copy(root / "train/good/004.png", root / "test/good/044.png")
        assert only(check(root).warnings) == (
            "test image 'test/good/044.png' is an exact copy of 'train/good/004.png', which is trained on: "
            "remove one of them"
        )

    def test_copies(self, root):
        shutil.copy(root / "train/good/004.png", root / "train/good/044.png")
        assert only(check(root).warnings) == "'train/good/044.png' is an exact copy of 'train/good/004.png'"

    def test_copies_with_two_labels(self, root):
        shutil.copy(root / "test/good/000.png", root / "test/cut/000.png")
        warning = only(check(root).warnings)
        assert "is an exact copy of" in warning and "yet one is 'good' and one is 'cut'" in warning

    @pytest.mark.parametrize(("change", "warned"), [(0, False), (1, True)])
    def test_published_counts(self, tmp_path, change, warned):
        train, good, defective = PUBLISHED_COUNTS["toothbrush"]
        folders = {"train/good": train + change, "test/good": good, "test/defective": defective}
        for folder, count in folders.items():
            (tmp_path / "toothbrush" / folder).mkdir(parents=True)
            for i in range(count):
                grey = Image.new("L", (4, 4), i)
                grey.putpixel((0, 0), len(folder))
                grey.putpixel((1, 0), i)
                grey.putpixel((2, 0), 255)
                grey.save(tmp_path / "toothbrush" / folder / f"{i}.png")
        warnings = check(tmp_path / "toothbrush").warnings
        assert [w for w in warnings if "is an exact copy" in w] == []
        if warned:
            assert "with 60/12/30 (train good / test good / test defective); here are 61/12/30" in only(warnings)
        else:
            assert warnings == []

    @pytest.mark.parametrize(("folder", "expected"), [("good", "no good test images"), ("cut", None)])
    def test_a_class_less(self, root, folder, expected):
        shutil.rmtree(root / "test" / folder)
        shutil.rmtree(root / "ground_truth" / folder, ignore_errors=True)
        warnings = check(root).warnings
        assert (expected in only(warnings)) if expected else warnings == []

    def test_no_defective_images_and_no_test_images(self, root):
        for defect in ("cut", "dent"):
            shutil.rmtree(root / "test" / defect)
        shutil.rmtree(root / "ground_truth")
        assert "no defective test images" in only(check(root).warnings)
        shutil.rmtree(root / "test")
        assert "no test images: training and prediction work" in only(check(root).warnings)

    def test_few_images(self, root):
        for i in range(3, 12):
            (root / f"train/good/{i:03}.png").unlink()
        warning = only(check(root).warnings)
        assert warning.startswith("only 3 good images to learn from: none is held out")


def test_sizes_and_bit_depths(root):
    for i, width in enumerate((10, 20, 40, 50, 60)):
        Image.fromarray(np.full((9, width), 1000 + i, np.uint16)).save(root / f"train/good/{i:03}.png")
    report = check(root)
    assert report.bit_depths == {8: 14, 16: 5}
    assert report.sizes["30x20"] == 14 and report.sizes["10x9"] == 1
    assert "  sizes       6 sizes, 10-60 wide and 9-20 high" in report.lines()


def test_terminal_lines_are_short_and_few(root):
    for i in range(12):
        (root / f"train/good/{i:03}.png").write_text("no picture")
    report = check(root)
    assert len(report.errors) == 12
    lines = report.lines()
    assert "error: 2 more of these; --json FILE lists them all" in lines
    # A path longer than a line stays whole, so that it can be copied.
    assert all(len(line) <= 80 or os.sep in line for line in lines)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "masks"), [("mvtec/transistor", 40), ("mvtec/bottle", 63), ("magnetic_tile", 388)])
def test_real_categories_are_sound(shared, name, masks):
    report = check(shared / "data" / name)
    assert report.errors == [] and report.warnings == []
    assert report.masks == {"expected": masks, "found": masks, "empty": 0}
