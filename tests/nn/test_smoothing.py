"""Smoothing against SciPy."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from vtadl.nn.smoothing import gaussian_smooth


@pytest.mark.parametrize("sigma", [0.7, 2.0, 4.0])
def test_equals_scipy(sigma):
    maps = torch.rand(2, 40, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for ours, one in zip(gaussian_smooth(maps, sigma), maps, strict=True):
        expected = torch.tensor(gaussian_filter(one.numpy(), sigma, mode="nearest", truncate=4.0))
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_none_is_the_identity():
    maps = torch.rand(1, 5, 5)
    assert gaussian_smooth(maps, 0) is maps


def test_a_map_smaller_than_the_kernel():
    assert torch.allclose(gaussian_smooth(torch.ones(1, 2, 3), 4.0), torch.ones(1, 2, 3))
