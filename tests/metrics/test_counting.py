import numpy as np
import pytest

from helpers import scenes
from vtadl.metrics.counting import count_greater

EDGES = [-np.inf, -3e38, -1.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, np.nextafter(np.float32(1), np.float32(2)), 3e38, np.inf]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_values_order_and_tie_as_comparing_does(dtype):
    scores = np.array(EDGES, dtype=dtype)
    above, at_least = count_greater([scores], np.unique(scores))
    np.testing.assert_array_equal(above, [np.sum(scores > q) for q in np.unique(scores)])
    np.testing.assert_array_equal(at_least, [np.sum(scores >= q) for q in np.unique(scores)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", scenes.FAMILIES)
def test_it_counts_what_comparing_counts(family, dtype):
    rng = np.random.default_rng(0)
    values = [scenes.scores(rng, family, (40, 60 + i), dtype) for i in range(8)]
    queries = np.unique(np.concatenate([values[0].ravel()[:200], scenes.scores(rng, family, 100, dtype)]))
    everything = np.concatenate([v.ravel() for v in values])
    above, at_least = count_greater(values, queries)
    np.testing.assert_array_equal(above, [np.sum(everything > q) for q in queries])
    np.testing.assert_array_equal(at_least, [np.sum(everything >= q) for q in queries])


def test_values_of_both_precisions_are_counted_exactly():
    values = [np.array([0.1, 0.2], dtype=np.float32), np.array([0.1, 0.2])]
    above, at_least = count_greater(values, np.unique(values[1]))
    assert above.tolist() == [3, 1]  # 0.1 and 0.2 as float32 are larger than as float64
    assert at_least.tolist() == [4, 2]


def test_queries_may_lie_outside_the_values():
    values = [np.arange(6, dtype=np.float32)]
    above, at_least = count_greater(values, np.array([-9, 0, 2.5, 5, 77], dtype=np.float32))
    assert above.tolist() == [6, 5, 3, 0, 0]
    assert at_least.tolist() == [6, 6, 3, 1, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_queries_beside_the_only_value(dtype):
    above, at_least = count_greater([np.full(3, 2, dtype=dtype)], np.array([1, 2, 3], dtype=dtype))
    assert above.tolist() == [3, 0, 0]
    assert at_least.tolist() == [3, 3, 0]
