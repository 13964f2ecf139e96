"""MVTec LOCO's regions: what is enough of each, and AUPRO that saturates there, against a slow loop."""

import json

import numpy as np
import pytest

from helpers.trees import LOCO_CONFIG, TREES, mask
from vtadl.cli import main
from vtadl.data.layouts import read_category
from vtadl.data.loco_regions import config_of, read_regions
from vtadl.errors import DataError
from vtadl.metrics import AnnotatedRegion, ScoredImage, evaluate

LOCO = next(tree for tree in TREES if tree.layout == "mvtec-loco")


def saturated_pro(images, limit):
    """AU-sPRO by its definition: at every score, the mean of min(overlap / enough, 1) against the share of false
    positives."""
    scores = np.unique(np.concatenate([i.anomaly_map.ravel() for i in images]))[::-1]
    good = np.concatenate([i.anomaly_map[~i.mask] for i in images])
    rates, overlaps = [0.0], [0.0]
    for score in scores:
        found = [
            min((i.anomaly_map[r.mask] >= score).sum() / round(r.saturation * r.mask.sum()), 1.0)
            for i in images
            for r in i.regions or ()
        ]
        rates.append((good >= score).mean())
        overlaps.append(np.mean(found))
    grid = np.unique([*[rate for rate in rates if rate < limit], limit])
    # At a rate that several scores share, the highest overlap counts from there on and the lowest up to there.
    area = 0.0
    for (r0, r1), (o0, o1) in zip(zip(rates, rates[1:]), zip(overlaps, overlaps[1:])):  # noqa: B905, RUF007
        end = min(r1, limit)
        if r1 > r0 and end > r0:
            at_end = o0 + (o1 - o0) * (end - r0) / (r1 - r0)
            area += (end - r0) * (o0 + at_end) / 2
    assert len(grid)
    return area / limit


def drawn(seed, *boxes):
    rng = np.random.default_rng(seed)
    anomaly_map = rng.normal(size=(20, 24)).astype(np.float32).round(1)
    regions = []
    for (top, left, height, width), share in boxes:
        region = np.zeros((20, 24), bool)
        region[top : top + height, left : left + width] = True
        anomaly_map[region] += rng.normal(1.5, 1.0, region.sum()).astype(np.float32).round(1)
        regions.append(AnnotatedRegion(mask=region, saturation=share))
    whole = np.any([r.mask for r in regions], axis=0) if regions else np.zeros((20, 24), bool)
    return ScoredImage(
        name=str(seed),
        defect="logical" if regions else "good",
        score=float(anomaly_map.max()),
        anomaly_map=anomaly_map,
        mask=whole,
        regions=tuple(regions) if regions else None,
    )


@pytest.fixture
def images():
    return [
        drawn(0),
        drawn(1, ((2, 2, 6, 6), 1.0), ((4, 4, 8, 5), 0.25)),  # two that overlap
        drawn(2, ((10, 10, 5, 9), 0.1)),
        drawn(3),
    ]


@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_aupro_saturates_as_the_definition_says(images, limit):
    found = evaluate(images, bootstrap=0).metrics[f"pixel_AUPRO@{limit:g}"]
    assert found == pytest.approx(saturated_pro(images, limit), abs=1e-6)


def test_regions_that_do_not_saturate_are_counted_whole(images):
    whole = [
        ScoredImage(name=i.name, defect=i.defect, score=i.score, anomaly_map=i.anomaly_map, mask=i.mask) for i in images
    ]
    one_region = [
        ScoredImage(
            name=i.name,
            defect=i.defect,
            score=i.score,
            anomaly_map=i.anomaly_map,
            mask=i.mask,
            regions=(AnnotatedRegion(mask=i.mask, saturation=1.0),) if i.mask.any() else None,
        )
        for i in images
    ]
    # Each mask is one connected component.
    assert evaluate(whole, bootstrap=0).metrics == evaluate(one_region, bootstrap=0).metrics


def test_pixel_metrics_but_aupro_do_not_know_of_regions(images):
    whole = [
        ScoredImage(name=i.name, defect=i.defect, score=i.score, anomaly_map=i.anomaly_map, mask=i.mask) for i in images
    ]
    for name in ("pixel_AUROC", "pixel_AP", "pixel_F1Max", "image_AUROC"):
        assert evaluate(images, bootstrap=0).metrics[name] == evaluate(whole, bootstrap=0).metrics[name]


def test_the_resampled_sets_saturate_too(images):
    found = evaluate(images, bootstrap=50)
    assert found.binning_error < 1e-9
    low, high = found.intervals["pixel_AUPRO@0.3"]
    assert low <= found.metrics["pixel_AUPRO@0.3"] <= high


def test_regions_that_are_not_the_mask_are_refused(images):
    broken = ScoredImage(
        name="x",
        defect="cut",
        score=1.0,
        anomaly_map=images[1].anomaly_map,
        mask=images[1].mask,
        regions=images[1].regions[:1],
    )
    with pytest.raises(DataError, match="the regions of 'x' are not its mask"):
        evaluate([images[0], broken], bootstrap=0)


def test_thresholds_are_read_by_the_values_of_the_masks(tmp_path):
    category = LOCO.make(tmp_path)
    folder = category / "ground_truth/logical_anomalies/000"
    regions = read_regions(folder, config_of(folder))
    assert [(r.mask.sum(), r.saturation) for r in regions] == [(16, 0.5), (16, 0.5)]  # 8 pixels are enough
    structural = category / "ground_truth/structural_anomalies/000"
    assert [r.saturation for r in read_regions(structural, config_of(structural))] == [1.0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LOCO_CONFIG[1:], r"000\.png' holds 254; expected one value of those in '.*defects_config\.json': 255"),
        ([{**LOCO_CONFIG[0], "saturation_threshold": 0}], "a saturation_threshold of 0.0 for 254"),
        ([{"pixel_value": 254}], "saturation_threshold.*; expected"),
        ({}, "expected"),
    ],
)
def test_a_config_that_does_not_fit_is_an_error_of_the_check(config, said, tmp_path, capsys):
    category = LOCO.make(tmp_path)
    (category / "defects_config.json").write_text(json.dumps(config))
    folder = category / "ground_truth/logical_anomalies/000"
    with pytest.raises(DataError, match=said):
        read_regions(folder, config_of(folder))
    assert main(["data", "check", str(category)]) == 1
    assert "defects_config.json" in "".join(capsys.readouterr().out.split())


def test_metrics_of_saved_maps_saturate(tmp_path, capsys):
    category = LOCO.make(tmp_path)
    for sample in read_category(category).test:
        place = tmp_path / "maps" / sample.path.relative_to(category).with_suffix(".npy")
        place.parent.mkdir(parents=True, exist_ok=True)
        anomaly_map = np.random.default_rng(0).random((16, 16), np.float32)
        if sample.is_defective:
            anomaly_map[4:6, 4:8] += 10  # half of the square: enough where 8 pixels are
        np.save(place, anomaly_map)
    report = tmp_path / "report.json"
    assert main(["metrics", str(tmp_path / "maps"), str(category), "--json", str(report)]) == 0
    content = json.loads(report.read_text())
    groups = content["by_defect"]
    assert groups["logical_anomalies"]["overlap"]["aupro"]["0.05"] == pytest.approx(1.0)
    assert groups["structural_anomalies"]["overlap"]["aupro"]["0.05"] < 0.6
    assert content["protocol"]["regions"] == "3 annotated, saturated as their defects_config.json says"
    mask(category / "ground_truth/logical_anomalies/000/000.png", value=7)
    assert main(["metrics", str(tmp_path / "maps"), str(category)]) == 1
    assert "holds 7; expected one value of those" in capsys.readouterr().err
