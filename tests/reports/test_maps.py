"""Two tools' saved maps side by side: metrics, the paired differences of `compare_metrics`, curves on a page."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.data.anomaly_maps import find_maps, read_map
from vtadl.data.layouts import read_category
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


def test_own_image_scores_stand_in_place_of_the_maps_maximum(bench, tmp_path, capsys):
    category = read_category(bench / "parts")
    names = {category.relative(sample.path): sample.is_defective for sample in category.test}
    rng = np.random.default_rng(1)
    own = {name: float(rng.normal(0.5 * is_defective)) for name, is_defective in names.items()}
    (tmp_path / "own.csv").write_text("file,score\n" + "".join(f"{name},{score}\n" for name, score in own.items()))
    turned = "".join(json.dumps({"file": name, "score": -score}) + "\n" for name, score in own.items())
    (tmp_path / "turned.jsonl").write_text(turned)
    command = ["metrics", str(bench / "sharp"), str(bench / "parts")]
    assert main([*command, "--json", str(tmp_path / "highest.json")]) == 0
    assert "score       of an image: the highest value of its map\n" in capsys.readouterr().out
    assert main([*command, "--scores", str(tmp_path / "own.csv"), "--json", str(tmp_path / "own.json")]) == 0
    assert f"score       of an image: as '{tmp_path / 'own.csv'}' gives it\n" in capsys.readouterr().out
    highest, ours = (json.loads((tmp_path / name).read_text()) for name in ("highest.json", "own.json"))
    assert ours["image_AUROC"] == pytest.approx(roc_auc_score(list(names.values()), list(own.values())))
    assert ours["image_AUROC"] != highest["image_AUROC"]
    assert {n: v for n, v in ours.items() if n.startswith("pixel_")} == {
        n: v for n, v in highest.items() if n.startswith("pixel_")
    }
    assert ours["protocol"]["image_score"] == f"as '{tmp_path / 'own.csv'}' gives it"

    both = [*command[:2], str(bench / "blunt"), command[2], "--scores", str(tmp_path / "own.csv")]
    turned_too = ["--scores", str(tmp_path / "turned.jsonl"), "--report", str(tmp_path / "maps.html")]
    assert main([*both, *turned_too, "--json", str(tmp_path / "both.json")]) == 0
    maps = json.loads((tmp_path / "both.json").read_text())["maps"]
    assert maps["sharp"]["image_AUROC"] == ours["image_AUROC"]
    assert maps["blunt"]["image_AUROC"] == pytest.approx(1 - ours["image_AUROC"])
    page = (tmp_path / "maps.html").read_text()
    assert "of sharp, as" in page and "of blunt, as" in page

    capsys.readouterr()
    assert main(both) == 2
    assert "--scores is given 1 times for 2 MAPS; give a file for each, or none" in capsys.readouterr().err
    (tmp_path / "own.csv").write_text("file,score\n" + next(iter(own)) + ",1\n")
    assert main([*command, "--scores", str(tmp_path / "own.csv")]) == 1
    err = capsys.readouterr().err
    assert "and 10 more test images; give one for each" in err and err.count("\n") == 1
