"""The range of 16-bit files: measured, described, stretched; and pictures that are unlike the training images."""

import numpy as np
import pytest
from PIL import Image

import vtadl
from helpers.categories import defective_image, good_image
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.likeness import look_of, unlike
from vtadl.data.value_range import described, in_range, measure_range
from vtadl.errors import ConfigError

FILLED = np.linspace(0, 1, 400).reshape(20, 20)


def saved(folder, values, number=0):
    path = folder / f"{number}.tiff"
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 255, (0, 255)),
        (100, 1000, (0, 1023)),
        (300, 3500, (0, 4095)),
        (0, 16_000, (0, 16_383)),
        (500, 60_000, (0, 65_535)),
        (29_700, 30_300, (29_400, 30_600)),
    ],
)
def test_the_range_of_files(tmp_path, low, high, expected):
    path = saved(tmp_path, (low + FILLED * (high - low)).round().astype(np.uint16))
    assert measure_range([path]) == expected


def test_files_of_8_bits_have_none(tmp_path):
    assert measure_range([saved(tmp_path, (255 * FILLED).astype(np.uint8))]) is None


def test_a_range_in_words():
    assert described((0, 4095)) == "16-bit files use 0..4095: 12 bits?"
    assert described((29_400, 30_600)) == "16-bit files use 29400..30600"


def test_stretching_keeps_black_white_and_order():
    image = np.repeat(np.array([[0, 1000, 2000, 3000, 4095, 65_535]], np.uint16)[:, :, None], 3, axis=2)
    assert in_range(image, (0, 4095))[0, :, 0].tolist() == [0, 16_004, 32_007, 48_011, 65_535, 65_535]
    assert in_range(image, (1000, 3000))[0, :, 0].tolist() == [0, 0, 32_768, 65_535, 65_535, 65_535]
    plain = image.astype(np.uint8)
    assert in_range(plain, (0, 4095)) is plain and in_range(image, None) is image


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12", (0, 4095)), ("16", (0, 65_535)), ("[100, 3000]", (100, 3000)), ("auto", None)],
)
def test_the_setting(text, expected):
    assert apply_settings(preset_config("gaussian"), [f"data.range={text}"]).data.range == expected


@pytest.mark.parametrize("text", ["11", "[3, 2]", "[0, 70000]", "[1, 2, 3]"])
def test_settings_that_cannot_be(text):
    with pytest.raises(ConfigError, match=r"data\.range is .*expected auto, 8, 10, 12, 14 or 16 bits"):
        apply_settings(preset_config("gaussian"), [f"data.range={text}"])


@pytest.mark.parametrize("convert", [lambda a: a * 16.0, lambda a: 29_500 + a * 4.0], ids=["12 bits", "thermal"])
def test_a_detector_of_deep_images_scores_as_one_of_the_same_in_8_bits(tmp_path, convert):
    def fill(folder, change):
        (folder).mkdir()
        for seed in range(12):
            Image.fromarray(change(good_image(seed)[:, :, 0])).save(folder / f"{seed}.tiff")
        return vtadl.train(folder, preset="gaussian", model={"image_size": 64}, device="cpu")

    def deep(grey):
        return convert(grey.astype(float)).astype(np.uint16)

    plain = fill(tmp_path / "plain", lambda grey: grey)
    with pytest.warns(UserWarning, match="16-bit files use"):
        ranged = fill(tmp_path / "deep", deep)
    ranged.save(tmp_path / "run")
    ranged = vtadl.load(tmp_path / "run")
    for detector, change in ((plain, lambda grey: grey), (ranged, deep)):
        good = max(detector.predict(change(good_image(100 + n)[:, :, 0])).score for n in range(3))
        bad = min(detector.predict(change(defective_image(200 + n)[0][:, :, 0])).score for n in range(3))
        assert bad > 1.5 * good


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image, None),
        (lambda image: np.repeat(np.repeat(image, 3, 0), 3, 1), "pixels high"),
        (lambda image: image[:40], "of another aspect ratio"),
        (lambda image: image.astype(np.uint16) * 257, "of 16 bits a channel"),
        (lambda image: np.repeat(image[:, :, :1], 3, 2), "grey, the training images are in colour"),
        (lambda image: image // 16, "far darker"),
    ],
)
def test_what_is_unlike_the_training_images(tmp_path, change, words):
    paths = [saved(tmp_path, good_image(number), number) for number in range(3)]
    found = list(unlike(change(good_image(9)), look_of(paths, None)))
    assert found == [] if words is None else any(words in one for one in found)
