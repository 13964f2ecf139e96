import dataclasses

import numpy as np
import pytest

from helpers import oracles, scenes
from vtadl.metrics import ScoredImage, evaluate


@pytest.fixture(scope="module")
def scored():
    return scenes.images(7, "normal", n=24, side=25, shift=1.0)


def test_every_part_is_a_mean_of_the_same_regions(scored):
    evaluation = evaluate(scored, bootstrap=0)
    parts = evaluation.breakdown
    for groups in (parts.by_image, parts.by_defect):
        overlaps = [g.overlap for g in groups.values() if g.overlap]
        assert sum(o.regions for o in overlaps) == len(parts.regions.areas)
        mean = np.average([o.aupro["0.3"] for o in overlaps], weights=[o.regions for o in overlaps])
        assert mean == pytest.approx(evaluation.metrics["pixel_AUPRO@0.3"], abs=1e-12)
    mean = np.average(
        [o.aupro["0.05"] for o in parts.by_size.values()], weights=[o.regions for o in parts.by_size.values()]
    )
    assert mean == pytest.approx(evaluation.metrics["pixel_AUPRO@0.05"], abs=1e-12)


def test_regions_agree_with_a_loop(scored):
    maps, masks, *_ = scenes.arrays(scored)
    evaluation = evaluate(scored, bootstrap=0, pixel_threshold=0.8)
    regions = evaluation.breakdown.regions
    expected = oracles.regions(masks)
    assert regions.images.tolist() == [index for index, _ in expected]
    assert regions.areas.tolist() == [region.sum() for _, region in expected]
    np.testing.assert_allclose(regions.recalls, [np.mean(maps[index][region] >= 0.8) for index, region in expected])
    assert evaluation.breakdown.threshold == 0.8
    missed = sum(o.missed for o in evaluation.breakdown.by_size.values())
    assert missed == sum(not (maps[index][region] >= 0.8).any() for index, region in expected)


def test_groups_hold_their_own_images(scored):
    by_defect = evaluate(scored, bootstrap=0).breakdown.by_defect
    good = np.array([i.score for i in scored if i.is_good])
    assert list(by_defect) == ["type0", "type1"]
    for name, group in by_defect.items():
        bad = [i.score for i in scored if i.defect == name]
        assert group.images == len(bad)
        assert group.image_auroc == pytest.approx(oracles.auroc(good, bad))


def test_the_operating_threshold_is_that_of_f1max_unless_told(scored):
    evaluation = evaluate(scored, bootstrap=0)
    assert evaluation.breakdown.threshold == evaluation.thresholds["pixel"]


def test_sizes_are_named_by_their_areas():
    mask = np.zeros((200, 200), dtype=bool)
    for row, side in ((0, 8), (20, 9), (60, 130)):
        mask[row : row + side, :side] = True
    anomaly_map = np.random.default_rng(0).standard_normal(mask.shape)
    images = [ScoredImage(name="a", defect="cut", score=1.0, anomaly_map=anomaly_map, mask=mask)]
    by_size = evaluate(images, bootstrap=0).breakdown.by_size
    assert {name: overlap.regions for name, overlap in by_size.items()} == {"1-64": 1, "65-256": 1, "16385-": 1}


@pytest.mark.parametrize("family", ["normal", "ties", "infinities", "heavy"])
@pytest.mark.parametrize("rates", [(1e-5, 1e-4), (0.01, 0.2), (0.3, 1.0)])
def test_aupimo_agrees_with_a_loop_over_thresholds(family, rates):
    from vtadl.metrics.aupimo import image_aupimo

    for seed in range(5):
        scored = scenes.images(seed, family, n=6, side=12, shift=1.0)
        found = image_aupimo(scored, rates)
        bad = [i for i in scored if i.mask is not None and i.mask.any()]
        good_maps = [i.anomaly_map for i in scored if i.is_good]
        expected = oracles.aupimo(good_maps, [i.anomaly_map for i in bad], [i.mask for i in bad], *rates)
        np.testing.assert_allclose(list(found.values()), expected, atol=1e-9)


def test_aupimo_of_the_set_is_the_mean_over_images(scored):
    parts = evaluate(scored, bootstrap=0).breakdown
    values = [g.aupimo for g in parts.by_image.values() if g.aupimo is not None]
    assert parts.aupimo == pytest.approx(np.mean(values))


def test_what_is_missing_is_none(scored):
    unmasked = evaluate([dataclasses.replace(i, mask=None) for i in scored], bootstrap=0).breakdown
    assert unmasked.regions is unmasked.aupimo is unmasked.threshold is None
    assert unmasked.by_size == {}
    assert all(g.overlap is None and g.image_auroc is not None for g in unmasked.by_defect.values())
    bad_only = evaluate([i for i in scored if not i.is_good], bootstrap=0).breakdown
    assert bad_only.aupimo is None
    assert all(g.image_auroc is None for g in bad_only.by_defect.values())
    assert any(g.overlap is not None for g in bad_only.by_defect.values())
