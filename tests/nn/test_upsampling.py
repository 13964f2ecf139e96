"""Upsampling as matrix products, against interpolation and smoothing pixel by pixel."""

import pytest
import torch

from vtadl.nn.smoothing import gaussian_smooth
from vtadl.nn.upsampling import Upsampling


@pytest.mark.parametrize(
    ("grid", "size", "smoothing"),
    [((26, 26), (416, 416), 6.0), ((4, 10), (64, 160), 2.5), ((9, 5), (72, 40), 0.0), ((3, 2), (6, 4), 4.0)],
)
def test_it_is_interpolation_and_then_smoothing(grid, size, smoothing):
    scores = torch.rand(2, *grid, generator=torch.Generator().manual_seed(0))
    pixels = torch.nn.functional.interpolate(scores[:, None].double(), size, mode="bilinear", align_corners=False)
    expected = gaussian_smooth(pixels[:, 0], smoothing).float()
    torch.testing.assert_close(Upsampling(grid, size, smoothing)(scores), expected, atol=1e-6, rtol=0)


def test_what_is_alike_everywhere_stays_as_it_is():
    maps = Upsampling((5, 7), (40, 56), 3.0)(torch.full((1, 5, 7), 2.0))
    torch.testing.assert_close(maps, torch.full((1, 40, 56), 2.0), atol=1e-6, rtol=0)


def test_nothing_of_it_is_stored():
    assert Upsampling((2, 2), (8, 8), 1.0).state_dict() == {}
