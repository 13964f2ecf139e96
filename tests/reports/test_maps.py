"""Two tools' saved maps side by side: metrics, the paired differences of `compare_metrics`, curves on a page."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.data.layouts import read_category
from vtadl.data.maps import find_maps, read_map
from vtadl.metrics import ScoredImage, compare_metrics


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A category, a tool that sees defects, and one that sees them less; the second leaves out the level ``test``."""
    root = tmp_path_factory.mktemp("bench")
    category = read_category(make_category(root / "parts", train=1, good=6, defective=6))
    rng = np.random.default_rng(0)
    for sample in category.test:
        mask = np.zeros((72, 72)) if sample.mask is None else np.asarray(Image.open(sample.mask)) / 255.0
        for tool, strength in (("sharp", 3.0), ("blunt", 0.7)):
            place = root / tool / sample.path.relative_to(category.root / ("test" if tool == "blunt" else "."))
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place.with_suffix(".npy"), (strength * mask + rng.normal(0, 1, (72, 72))).astype(np.float32))
    return root


def scored(bench, tool):
    category = read_category(bench / "parts")
    names = [category.relative(sample.path) for sample in category.test]
    maps = find_maps(bench / tool, names)
    images = []
    for sample, name in zip(category.test, names, strict=True):
        anomaly_map = read_map(maps[name])
        mask = None if sample.mask is None else np.asarray(Image.open(sample.mask)) > 0
        score = float(anomaly_map.max())
        images.append(ScoredImage(name=name, defect=sample.label, score=score, anomaly_map=anomaly_map, mask=mask))
    return images


@pytest.fixture(scope="module")
def compared(bench):
    command = ["metrics", str(bench / "sharp"), str(bench / "blunt"), str(bench / "parts")]
    assert main([*command, "--json", str(bench / "both.json"), "--report", str(bench / "maps.html")]) == 0
    return json.loads((bench / "both.json").read_text()), (bench / "maps.html").read_text()


def test_each_tool_has_the_metrics_that_it_has_alone(bench, compared, tmp_path):
    content, _ = compared
    for tool in ("sharp", "blunt"):
        assert main(["metrics", str(bench / tool), str(bench / "parts"), "--json", str(tmp_path / "one.json")]) == 0
        alone = json.loads((tmp_path / "one.json").read_text())
        assert content["maps"][tool]["intervals"] == alone["intervals"]


def test_differences_are_those_of_the_paired_bootstrap(bench, compared):
    expected = compare_metrics(scored(bench, "sharp"), scored(bench, "blunt"))
    found = {one["metric"]: one for one in compared[0]["differences"]}
    assert found.keys() == expected.keys()
    for name, comparison in expected.items():
        assert found[name]["difference"] == pytest.approx(comparison.difference)
        assert found[name]["interval"] == pytest.approx(list(comparison.interval))
        assert found[name]["p"] == pytest.approx(comparison.p)
    assert found["pixel_AUROC"]["difference"] > 0.1 and found["pixel_AUROC"]["p"] < 0.05


def test_the_page_has_both_tools_curves_and_how_an_image_is_scored(compared):
    _, html = compared
    for words in ("sharp - blunt", "Paired differences", "ROC of pixels", "highest value of its map"):
        assert words in html
    auroc = compared[0]["maps"]["blunt"]["pixel_AUROC"]
    assert f"blunt {auroc:.4f}" in html and "<script" not in html


def test_maps_of_different_images_are_no_pair(bench, tmp_path, capsys):
    import shutil

    fewer = shutil.copytree(bench / "sharp", tmp_path / "fewer")
    next((fewer / "test/good").iterdir()).unlink()
    assert main(["metrics", str(fewer), str(bench / "blunt"), str(bench / "parts")]) == 1
    assert "have maps of different images" in capsys.readouterr().err
    assert main(["metrics", str(fewer), str(fewer), str(bench / "parts")]) == 2
    assert "given twice" in capsys.readouterr().err
