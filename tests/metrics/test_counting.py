import numpy as np
import pytest

from helpers import scenes
from vtadl.metrics.counting import count_by_groups, count_greater, order_keys

EDGES = [-np.inf, -3e38, -1.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, np.nextafter(np.float32(1), np.float32(2)), 3e38, np.inf]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keys_order_and_tie_as_the_scores_do(dtype):
    scores = np.array(EDGES, dtype=dtype)
    keys = order_keys(scores).astype(object)
    for i in range(len(scores)):
        for j in range(len(scores)):
            assert (keys[i] < keys[j]) == (scores[i] < scores[j])
            assert (keys[i] == keys[j]) == (scores[i] == scores[j])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", scenes.FAMILIES)
@pytest.mark.parametrize("group", [100, 5000, 10**6])
def test_groups_count_what_comparing_counts(family, dtype, group):
    rng = np.random.default_rng(0)
    values = [scenes.scores(rng, family, (40, 60 + i), dtype) for i in range(8)]
    queries = np.unique(np.concatenate([values[0].ravel()[:200], scenes.scores(rng, family, 100, dtype)]))
    everything = np.sort(np.concatenate([v.ravel() for v in values]))
    above, at_least = count_by_groups(values, queries, group=group)
    np.testing.assert_array_equal(above, [np.sum(everything > q) for q in queries])
    np.testing.assert_array_equal(at_least, [np.sum(everything >= q) for q in queries])


def test_large_sets_go_through_groups_and_agree_with_a_sort():
    rng = np.random.default_rng(1)
    values = [rng.standard_t(2, (300, 400)).astype(np.float32) for _ in range(6)]
    queries = np.unique(values[2].ravel()[::50])
    ordered = np.sort(np.concatenate([v.ravel() for v in values]))
    above, at_least = count_greater(values, queries)
    np.testing.assert_array_equal(above, ordered.size - np.searchsorted(ordered, queries, side="right"))
    np.testing.assert_array_equal(at_least, ordered.size - np.searchsorted(ordered, queries, side="left"))


def test_queries_may_lie_outside_the_values():
    values = [np.arange(6, dtype=np.float32)]
    above, at_least = count_by_groups(values, np.array([-9, 0, 2.5, 5, 77], dtype=np.float32), group=2)
    assert above.tolist() == [6, 5, 3, 0, 0]
    assert at_least.tolist() == [6, 6, 3, 1, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_queries_beside_the_only_value(dtype):
    above, at_least = count_by_groups([np.full(3, 2, dtype=dtype)], np.array([1, 2, 3], dtype=dtype))
    assert above.tolist() == [3, 0, 0]
    assert at_least.tolist() == [3, 3, 0]
