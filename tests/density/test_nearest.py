"""The nearest row against a tree."""

import pytest
import torch
from scipy.spatial import cKDTree

from helpers.clusters import clustered
from vtadl.density.nearest import BLOCK, nearest_distance, searchable

pytestmark = pytest.mark.native


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, 300])
def test_nearest_distance_equals_a_tree(size):
    x, memory = clustered(500, 9, 1), clustered(size, 9, 2)
    expected = torch.tensor(cKDTree(memory).query(x)[0], dtype=torch.float32)
    torch.testing.assert_close(nearest_distance(x, searchable(memory)), expected, rtol=1e-5, atol=1e-5)


def test_small_distances_are_not_lost_to_cancellation():
    memory = clustered(200, 16) + 1000
    nearby = memory + 0.01
    torch.testing.assert_close(
        nearest_distance(nearby, searchable(memory)), torch.full((200,), 0.04), rtol=0.02, atol=0
    )
