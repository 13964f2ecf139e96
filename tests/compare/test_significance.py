"""Paired tests against enumeration, the definition, and the comparison from whole anomaly maps."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata

from vtadl.compare.outcomes import Outcome
from vtadl.compare.significance import across_categories, holm, signed_rank_p, within_categories
from vtadl.compare.tables import Method, method_of, tabulate
from vtadl.metrics import ScoredImage, compare_metrics, evaluate

METRIC = "pixel_AUPRO@0.3"
METHODS = [Method(preset="paper", objective=objective) for objective in ("mse", "mse + vae", "mse + nll")]


def enumerated_p(differences):
    """Every assignment of signs to the ranks, as likely as any other."""
    moved = differences[differences != 0]
    ranks = rankdata(np.abs(moved))
    observed = abs(ranks @ np.sign(moved))
    sums = [abs(ranks @ np.array(signs)) for signs in product((-1, 1), repeat=len(moved))]
    return float(np.mean(np.array(sums) >= observed - 1e-9))


@pytest.mark.parametrize("count", [6, 9, 13])
def test_signed_rank_p_is_that_of_all_sign_assignments(count):
    rng = np.random.default_rng(count)
    for shift in (0.0, 0.3, 1.0):
        differences = rng.normal(shift, 1, count)
        assert signed_rank_p(differences) == pytest.approx(enumerated_p(differences), abs=1e-12)


def test_ties_and_pairs_without_a_difference_do_not_break_it():
    assert signed_rank_p(np.zeros(8)) == 1.0
    tied = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.0, 0.1])
    assert signed_rank_p(tied) == pytest.approx(enumerated_p(tied), abs=0.02)


def test_holm_is_its_definition():
    p = [0.01, 0.04, 0.03, 0.005]
    # smallest first: 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04, made monotone
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def outcomes_of(values):
    return [
        Outcome(
            category=f"c{c}",
            preset=method.preset,
            objective=method.objective,
            seed=seed,
            status="done",
            metrics={METRIC: float(values[c, m, seed])},
        )
        for c in range(values.shape[0])
        for m, method in enumerate(METHODS)
        for seed in range(values.shape[2])
    ]


def test_seeds_are_averaged_before_categories_are_paired():
    values = np.random.default_rng(0).random((7, 3, 4))
    pairs = across_categories(tabulate(outcomes_of(values), METRIC))
    means = values.mean(axis=2)
    raw = [enumerated_p(means[:, a] - means[:, b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert [pair.p for pair in pairs] == pytest.approx(raw)
    assert [pair.p_holm for pair in pairs] == pytest.approx(holm(raw))
    assert pairs[0].difference == pytest.approx((means[:, 0] - means[:, 1]).mean())
    assert pairs[0].wins == (means[:, 0] > means[:, 1]).sum()


def test_below_six_categories_there_is_a_reason_and_no_p():
    pairs = across_categories(tabulate(outcomes_of(np.random.default_rng(0).random((5, 3, 1))), METRIC))
    assert all(pair.p is None and pair.p_holm is None for pair in pairs)
    assert pairs[0].why == "a two-sided p below 0.05 needs 6 categories"


def scored(seed, strength):
    rng = np.random.default_rng(seed)
    images = []
    for index in range(24):
        mask = np.zeros((16, 16), dtype=bool)
        if index % 2:
            row, column = np.random.default_rng(index).integers(0, 11, 2)
            mask[row : row + 4, column : column + 5] = True
        anomaly_map = (rng.normal(0, 1, mask.shape) + strength * mask).astype(np.float32)
        images.append(
            ScoredImage(
                name=f"{index:02}",
                defect="hole" if index % 2 else "good",
                score=float(anomaly_map.max()),
                anomaly_map=anomaly_map,
                mask=mask,
            )
        )
    return images


def test_within_a_category_it_is_the_bootstrap_over_whole_images():
    sets = [scored(1, 1.5), scored(2, 0.8)]
    outcomes, draws = [], {}
    for method, images in zip(METHODS[:2], sets, strict=True):
        evaluation = evaluate(images)
        draws[method] = evaluation.resampled
        outcomes.append(
            Outcome(
                category="cloth",
                preset=method.preset,
                objective=method.objective,
                seed=0,
                status="done",
                metrics=evaluation.metrics,
                images=tuple((image.name, image.defect, image.score) for image in images),
            )
        )
    whole = compare_metrics(*sets)
    for metric, expected in whole.items():
        (found,) = within_categories(outcomes, tabulate(outcomes, metric), lambda o: draws[method_of(o)])
        assert found.comparison == expected


def test_different_images_are_not_compared():
    images = (("a", "good", 0.1), ("b", "good", 0.2), ("c", "hole", 0.1), ("d", "hole", 0.2))
    first, second = (
        Outcome(
            category="cloth",
            preset=m.preset,
            objective=m.objective,
            seed=0,
            status="done",
            metrics={METRIC: 0.5},
            images=shown,
        )
        for m, shown in zip(METHODS, (images, images[:3]), strict=False)
    )
    draws = {METRIC: np.random.default_rng(0).random(10)}
    (found,) = within_categories([first, second], tabulate([first, second], METRIC), lambda o: draws)
    assert found.comparison is None
    assert "different images" in found.why
