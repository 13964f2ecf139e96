"""Every format and every kind of mask of the tables: read, warned of, or refused; never silent."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.formats import FORMATS, MASKS, REFUSED
from vtadl.cli import main
from vtadl.data.formats import IMAGE_SUFFIXES
from vtadl.data.images import image_size, read_image
from vtadl.errors import DataError

FILES = [
    pytest.param(name, write, pixels, id=f"{one.name}-{number}{name}")
    for one in FORMATS
    for number, (write, pixels) in enumerate(one.files)
    for name in one.suffixes
]


def test_the_table_has_every_suffix():
    assert sorted(suffix for one in FORMATS for suffix in one.suffixes) == sorted(IMAGE_SUFFIXES)


@pytest.mark.parametrize(("suffix", "write", "pixels"), FILES)
def test_every_format_under_each_of_its_names(suffix, write, pixels, tmp_path):
    path = tmp_path / f"image{suffix}"
    write(path)
    found = read_image(path)
    assert found.shape == (12, 17, 3) and image_size(path) == (12, 17)
    if pixels is not None:
        assert found.dtype == pixels.dtype
        np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.what)
def test_what_is_refused_is_refused_with_its_reason(kind, tmp_path):
    path = tmp_path / kind.name
    kind.write(path)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert kind.said in str(caught.value) and kind.name in str(caught.value)


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.what)
def test_a_check_and_a_training_stop_at_what_is_refused(kind, tmp_path, capsys):
    """What `data check` calls an error stops a training, before any work."""
    path = tmp_path / "parts/train/good" / kind.name
    path.parent.mkdir(parents=True)
    kind.write(path)
    for number in range(3):
        Image.new("L", (17, 12), 90 + number).save(path.with_name(f"good{number}.png"))
    report = tmp_path / "report.json"
    assert main(["data", "check", str(tmp_path / "parts"), "--json", str(report)]) == 1
    assert any(kind.said in error for error in json.loads(report.read_text())["errors"])
    assert main(["train", str(tmp_path / "parts"), "--preset", "gaussian", "--out", str(tmp_path / "run")]) == 1
    assert kind.said in capsys.readouterr().err and not (tmp_path / "run").exists()


def drawn(root, kind):
    """A category of 30 x 40 pixels with masks of one kind, and good maps of it."""
    rng = np.random.default_rng(3)
    for number in range(5):
        pixels = rng.integers(80, 120, (40, 30), dtype=np.uint8)
        defective = number < 3
        name = f"{number:03}"
        place = f"test/{'cut' if defective else 'good'}/{name}"
        (root / "parts" / place).parent.mkdir(parents=True, exist_ok=True)
        (root / "maps" / place).parent.mkdir(parents=True, exist_ok=True)
        anomaly_map = rng.random((40, 30), np.float32)
        if defective:
            mask = np.zeros((40, 30), bool)
            mask[12 : 18 + number, 8:15] = True
            target = root / "parts/ground_truth/cut" / kind.name.replace("000", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            kind.write(target, mask)
            anomaly_map[mask] += 1
            pixels[mask] = 250
        Image.fromarray(pixels).save(root / "parts" / f"{place}.png")
        np.save(root / "maps" / f"{place}.npy", anomaly_map)
    (root / "parts/train/good").mkdir(parents=True)
    for number in range(3):
        pixels = rng.integers(80, 120, (40, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"parts/train/good/{number}.png")
    return root / "parts"


@pytest.mark.parametrize("kind", MASKS, ids=lambda kind: kind.what)
def test_every_kind_of_mask_in_a_check_and_in_metrics(kind, tmp_path, capsys):
    category, report, metrics = drawn(tmp_path, kind), tmp_path / "report.json", tmp_path / "metrics.json"
    refused = kind.outcome == "refused"
    assert main(["data", "check", str(category), "--json", str(report)]) == refused
    found = json.loads(report.read_text())
    assert main(["metrics", str(tmp_path / "maps"), str(category), "--json", str(metrics)]) == refused
    said = capsys.readouterr().err
    if kind.outcome == "read":
        suspicious = [line for line in found["warnings"] if "mask" in line]
        assert suspicious == [] and "mask" not in said
        assert json.loads(metrics.read_text())["pixel_AUROC"] > 0.95
    elif refused:
        assert any(kind.said in line for line in found["errors"]) and kind.said in said
    else:
        assert any(kind.said.partition(":")[0] in line for line in found["warnings"]) and kind.said in said
