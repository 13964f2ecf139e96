"""What is looked at: masks and polygons, and that nothing outside them counts, from training to verdict."""

import json

import numpy as np
import pytest
from PIL import Image

import vtadl
from helpers.categories import good_image, make_category
from vtadl.cli import main
from vtadl.data.hashing import content_hash
from vtadl.data.roi import STORED_SIDE, fitted_mask, mask_png, read_region_of_interest, read_stored_mask
from vtadl.errors import BundleError, DataError

SQUARE = {"width": 40, "height": 20, "polygons": [[[0, 0], [19, 0], [19, 19], [0, 19]]]}


def write_mask(path, mask):
    Image.fromarray(mask).save(path)
    return path


def write_polygons(path, content):
    path.write_text(json.dumps(content))
    return path


def write_noisy(path, pixels, place):
    """The image with noise in its right half, such that its hash lies in the given part of so many equal ones."""
    part, parts = place
    for seed in range(1000):
        # Columns next to the border are mixed with those inside when the image is resized.
        pixels[:, 38:] = np.random.default_rng(seed).integers(0, 256, pixels[:, 38:].shape)
        write_mask(path, pixels)
        if int(content_hash(path)[:8], 16) * parts >> 32 == part:
            return
    raise AssertionError("no noise has such a hash")


def test_without_files_everything_counts():
    assert read_region_of_interest(None, None) is None


def test_masks_and_polygons_say_the_same(tmp_path):
    left = np.zeros((20, 40), bool)
    left[:, :20] = True
    png = write_mask(tmp_path / "left.png", left)
    polygons = write_polygons(tmp_path / "left.json", SQUARE)
    assert np.array_equal(read_region_of_interest(png, None), left)
    assert np.array_equal(read_region_of_interest(polygons, None), left)
    assert np.array_equal(read_region_of_interest(None, polygons), ~left)
    corner = np.zeros_like(left)
    corner[:5, :5] = True
    both = read_region_of_interest(png, write_mask(tmp_path / "corner.png", corner))
    assert np.array_equal(both, left & ~corner)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no polygons"),
        ({"width": 4, "height": 4, "polygons": []}, "0 polygons"),
        ({"width": 0, "height": 4, "polygons": [[[0, 0], [1, 0], [1, 1]]]}, "width is 0"),
        ({"width": 10**9, "height": 10**9, "polygons": [[[0, 0], [1, 0], [1, 1]]]}, "width is 1000000000"),
        ({"width": 20_000, "height": 20_000, "polygons": [[[0, 0], [1, 0], [1, 1]]]}, "20000x20000"),
        ({"width": 4, "height": 4, "polygons": [[[0, 0], [1, 0]]]}, "a polygon of 2 points"),
        ({"width": 4, "height": 4, "polygons": [[[0, 0], [1e30, 0], [1, 1]]]}, "far outside"),
        ({"width": 4, "height": 4, "polygons": [[[0, 0], ["a", 0], [1, 1]]]}, "could not convert"),
    ],
)
def test_polygons_that_cannot_be(content, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        read_region_of_interest(write_polygons(tmp_path / "roi.json", content), None)
    assert "roi.json" in str(caught.value)


def test_masks_that_cannot_be(tmp_path):
    everything = write_mask(tmp_path / "all.png", np.ones((4, 4), bool))
    with pytest.raises(DataError, match="leaves nothing to look at"):
        read_region_of_interest(None, everything)
    with pytest.raises(DataError, match="differ in size, 4x4 and 5x4"):
        read_region_of_interest(everything, write_mask(tmp_path / "other.png", np.ones((4, 5), bool)))
    with pytest.raises(DataError, match="cannot read polygons"):
        read_region_of_interest(tmp_path / "nowhere.json", None)
    dot = np.zeros((100, 100), bool)
    dot[0, 0] = True
    with pytest.raises(DataError, match="vanishes in an image of 3x3"):
        fitted_mask(dot, (3, 3))


def test_stored_and_read_back(tmp_path):
    mask = np.random.default_rng(0).random((30, 50)) > 0.5
    (tmp_path / "mask.png").write_bytes(mask_png(mask))
    assert np.array_equal(read_stored_mask(tmp_path / "mask.png"), mask)
    write_mask(tmp_path / "huge.png", np.ones((1, STORED_SIDE + 1), bool))
    with pytest.raises(DataError, match="vtadl did not write it"):
        read_stored_mask(tmp_path / "huge.png")


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=20)


@pytest.fixture(scope="module")
def left_half(tmp_path_factory):
    mask = np.zeros((72, 72), bool)
    mask[:, :36] = True
    return write_mask(tmp_path_factory.mktemp("masks") / "left.png", mask)


@pytest.mark.parametrize("preset", ["gaussian", "memory"])
def test_nothing_outside_changes_anything(category, left_half, tmp_path, preset):
    detector = vtadl.train(category, preset=preset, model={"image_size": 96}, roi=left_half, device="cpu")
    image = good_image(50)
    changed = image.copy()
    changed[:, 38:] = 255
    first, second = detector.predict(image), detector.predict(changed)
    assert first.score == pytest.approx(second.score, rel=1e-6)
    assert np.allclose(first.anomaly_map, second.anomaly_map, rtol=1e-5)
    assert first.anomaly_map[:, 36:].max() == first.anomaly_map.min()
    inside = image.copy()
    inside[20:34, 10:24] = (230, 40, 40)
    assert detector.predict(inside).score > 1.5 * first.score
    detector.save(tmp_path / "run")
    again = vtadl.load(tmp_path / "run", device="cpu")
    assert np.array_equal(again.predict(image).anomaly_map, first.anomaly_map)
    (tmp_path / "run/region_of_interest.png").write_bytes(b"junk")
    with pytest.raises(BundleError, match="is not an image"):
        vtadl.load(tmp_path / "run", device="cpu")


@pytest.mark.parametrize("preset", ["gaussian", "memory"])
def test_training_sees_nothing_outside(category, left_half, tmp_path, preset):
    # So few images that none is held out: which ones are depends on the files' bytes.
    files = sorted((category / "train/good").iterdir())[:6]
    images = [np.array(Image.open(file)) for file in files]
    (tmp_path / "plain").mkdir()
    (tmp_path / "noise").mkdir()
    # Bytes also decide the order in which images are added up, and with it the last digits: keep it.
    plain = [write_mask(tmp_path / "plain" / file.name, image) for file, image in zip(files, images, strict=True)]
    for rank, index in enumerate(sorted(range(len(files)), key=lambda index: content_hash(plain[index]))):
        write_noisy(tmp_path / "noise" / files[index].name, images[index], (rank, len(files)))
    detectors = []
    for name in ("plain", "noise"):
        arguments = {"model": {"image_size": 96}, "roi": left_half, "device": "cpu"}
        with pytest.warns(UserWarning, match="only 6 good images"):
            detectors.append(vtadl.train(tmp_path / name, preset=preset, **arguments))
    first, second = (detector.predict(good_image(50)) for detector in detectors)
    assert first.score == pytest.approx(second.score, rel=1e-5)


def test_the_command_and_resuming(category, left_half, tmp_path, capsys):
    arguments = [
        "train",
        str(category),
        "--out",
        str(tmp_path / "run"),
        "--preset",
        "gaussian",
        "--set",
        "model.image_size=96",
        "--device",
        "cpu",
    ]
    assert main([*arguments, "--ignore", str(left_half)]) == 0
    assert not vtadl.load(tmp_path / "run", device="cpu").run.roi_mask[:, :36].any()
    assert main([*arguments, "--resume", "--ignore", str(left_half)]) == 0
    assert main([*arguments, "--resume"]) == 2
    assert "another region of interest" in capsys.readouterr().err
