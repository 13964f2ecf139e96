from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtadl.data.anomaly_maps import (
    find_maps,
    fit_map,
    map_warnings,
    missing_warnings,
    negated_hint,
    place_map,
    read_map,
    summarize_map,
)
from vtadl.data.resizing import resize_map
from vtadl.errors import DataError

IMAGES = ["test/good/000.png", "test/cut/000.png", "test/cut/001.jpg"]


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def random_map(seed=0, shape=(40, 50), dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_maps_are_found_by_the_images_path_without_its_suffix(tmp_path):
    files = [save(tmp_path / name, random_map()) for name in ("test/good/000.npy", "test/cut/001.npy", "test/odd.npy")]
    found = find_maps(tmp_path, IMAGES)
    assert found == {"test/good/000.png": files[0], "test/cut/001.jpg": files[1]}
    missing, spare = missing_warnings(tmp_path, IMAGES, found)
    assert missing.startswith("1 of 3 test images have no anomaly map and are left out, 'test/cut/000.png' for one")
    assert spare == f"1 anomaly maps belong to no test image, '{files[2]}' for one"


def test_nothing_to_warn_of(tmp_path):
    for image in IMAGES:
        save((tmp_path / image).with_suffix(".npy"), random_map())
    assert missing_warnings(tmp_path, IMAGES, find_maps(tmp_path, IMAGES)) == []


def test_folders_that_cannot_be_matched_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder; expected one with an anomaly map for each test image"):
        find_maps(tmp_path / "absent", IMAGES)
    save(tmp_path / "000.npy", random_map())
    with pytest.raises(
        DataError, match=r"no anomaly map of any test image; expected .* '.*test/good/000\.npy'; found '.*/000\.npy'"
    ):
        find_maps(tmp_path, IMAGES)
    save(tmp_path / "test/good/000.npy", random_map())
    Image.fromarray(random_map()).save(tmp_path / "test/good/000.tiff")
    with pytest.raises(DataError, match=r"000\.npy' and '.*000\.tiff' are both maps of 'test/good/000\.png'"):
        find_maps(tmp_path, IMAGES)
    with pytest.raises(DataError, match="would share one anomaly map"):
        find_maps(tmp_path, ["a/0.png", "a/0.jpg"])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.uint8, np.uint16, np.int32])
def test_numpy_files_keep_every_value(tmp_path, dtype):
    stored = (random_map() * 100).round().clip(0).astype(dtype)
    np.savez(tmp_path / "b.npz", anything=stored)
    for path in (save(tmp_path / "a.npy", stored), tmp_path / "b.npz"):
        found = read_map(path)
        np.testing.assert_array_equal(found, stored)
        assert found.dtype == (np.float64 if np.dtype(dtype) in (np.float64, np.int32) else np.float32)


@pytest.mark.parametrize("shape", [(1, 4, 5), (4, 5, 1), (1, 1, 4, 5)])
def test_sides_of_one_are_dropped(tmp_path, shape):
    assert read_map(save(tmp_path / "a.npy", np.ones(shape))).shape == (4, 5)


def test_a_map_one_pixel_wide_stays_one(tmp_path):
    assert read_map(save(tmp_path / "a.npy", np.ones((4, 1)))).shape == (4, 1)


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.tif"])
def test_16_bit_pictures_keep_every_value(tmp_path, name):
    stored = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
    Image.fromarray(stored).save(tmp_path / name)
    np.testing.assert_array_equal(read_map(tmp_path / name), stored)


def test_float_tiff_keeps_every_bit(tmp_path):
    stored = random_map() * 1e-20
    Image.fromarray(stored).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(read_map(tmp_path / "a.tiff"), stored)


def test_unreadable_maps_are_refused_by_name(tmp_path):
    save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    save(tmp_path / "nan.npy", np.array([[1, np.nan]]))
    save(tmp_path / "flat.npy", np.ones(5))
    save(tmp_path / "empty.npy", np.ones((0, 5)))
    save(tmp_path / "complex.npy", np.ones((5, 5), dtype=complex))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "a.txt").write_text("0.5")
    np.savez(tmp_path / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    (tmp_path / "broken.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:50])
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    pages = [Image.fromarray(random_map(i)) for i in range(2)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    expected = {
        "objects.npy": "cannot be read",
        "nan.npy": "holds NaN",
        "flat.npy": r"has the shape \(5,\); expected \(height, width\)",
        "empty.npy": r"has the shape \(0, 5\)",
        "complex.npy": "holds complex128; expected real numbers",
        "broken.npy": "cannot be read",
        "broken.png": "cannot be read",
        "broken.npz": "cannot be read",
        "absent.npy": "cannot be read",
        "a.txt": "save it as .npy",
        "two.npz": r"holds 2 arrays \(a, b\); expected one",
        "colour.png": "mode RGB; expected one channel",
        "pages.tiff": "holds 2 pages; expected one map",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message) as caught:
            read_map(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_resampling_is_bilinear_between_pixel_centres(tmp_path):
    anomaly_map = random_map(shape=(6, 8), dtype=np.float64)
    assert fit_map(anomaly_map, (6, 8), tmp_path) is anomaly_map
    found = fit_map(anomaly_map, (12, 24), tmp_path)
    rows, columns = (np.arange(12) + 0.5) / 2 - 0.5, (np.arange(24) + 0.5) / 3 - 0.5
    by_rows = np.stack([np.interp(rows, np.arange(6), column) for column in anomaly_map.T], axis=1)
    expected = np.stack([np.interp(columns, np.arange(8), row) for row in by_rows])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_infinities_cannot_be_resampled(tmp_path):
    anomaly_map = np.array([[0, np.inf], [1, 2]], dtype=np.float32)
    assert fit_map(anomaly_map, (2, 2), tmp_path / "a.npy") is anomaly_map
    with pytest.raises(DataError, match=r"a\.npy' is 2x2, its image 6x4, and it holds infinities"):
        fit_map(anomaly_map, (4, 6), tmp_path / "a.npy")


def lines(maps):
    return map_warnings([summarize_map(f"{n:03d}", m) for n, m in enumerate(maps)])


def test_raw_maps_raise_no_warning():
    assert lines([random_map(n) for n in range(5)]) == []
    assert lines([]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: (m - m.min()) / (m.max() - m.min()),
            "each anomaly map runs from exactly 0 to exactly 1: they look norm",
        ),
        (lambda m: np.zeros_like(m), "5 of 5 anomaly maps are constant, '000' for one"),
        (lambda m: np.round(m * 20) / 20, "5 of 5 anomaly maps have 256 distinct values or fewer"),
        (
            lambda m: np.minimum(m, 1.5),
            "of all pixels have the highest score, 1.5, in 5 anomaly maps: they look saturated",
        ),
    ],
)
def test_each_trap_is_named_alone(change, message):
    (line,) = lines([change(random_map(n)) for n in range(5)])
    assert message in line


def test_one_flat_map_among_many_is_named():
    (line,) = lines([*(random_map(n) for n in range(4)), np.full((40, 50), 7.0)])
    assert line.startswith("1 of 5 anomaly maps are constant, '004' for one")


def test_a_map_of_another_aspect_is_refused_with_what_it_looks_like():
    size, path = (80, 128), Path("a.npy")
    ramp = np.linspace(0, 1, 80 * 128, dtype=np.float32).reshape(80, 128)
    for shape in ((80, 128), (20, 32), (10, 16), (28, 45), (160, 256)):
        assert place_map(random_map(shape=shape), size, path).shape == size
    for shape, looks in (
        ((80, 80), "looks like a centre crop.*--map-geometry stretched.*--map-geometry center-crop"),
        ((224, 224), "looks squeezed into a square, or cut to one"),
        ((128, 80), "looks turned by a quarter"),
        ((60, 128), "looks cut"),
    ):
        with pytest.raises(DataError, match=rf"'a\.npy' is {shape[1]}x{shape[0]}, its image 128x80: .*{looks}"):
            place_map(random_map(shape=shape), size, path)
    placed = place_map(ramp[:, 24:104], size, path, "center-crop")
    np.testing.assert_array_equal(placed[:, 24:104], ramp[:, 24:104])
    assert (placed[:, :24] == ramp[:, 24:104].min()).all() and (placed[:, 104:] == ramp[:, 24:104].min()).all()
    squeezed = resize_map(ramp, (64, 64))
    np.testing.assert_array_equal(place_map(squeezed, size, path, "stretched"), resize_map(squeezed, size))


@pytest.mark.parametrize(("auroc", "hinted"), [(0.0006, True), (0.5, False), (0.999, False), (None, False)])
def test_negated_maps_get_a_hint(auroc, hinted):
    assert bool(negated_hint(auroc)) == hinted
