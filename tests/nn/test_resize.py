"""Resizing as matrix products, against torch's own and smoothing pixel by pixel."""

import pytest
import torch

from vtadl.nn.resize import Resize
from vtadl.nn.smoothing import gaussian_smooth


@pytest.mark.parametrize(("size", "new_size"), [((416, 416), (256, 256)), ((64, 160), (64, 96)), ((40, 30), (55, 30))])
@pytest.mark.parametrize("exporting", [False, True])
def test_it_is_torchs_bilinear_with_antialiasing(monkeypatch, size, new_size, exporting):
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: exporting)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = Resize(size, new_size)(images)
    expected = torch.nn.functional.interpolate(images, new_size, mode="bilinear", antialias=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_nothing_of_it_is_stored():
    assert Resize((8, 8), (4, 4)).state_dict() == {}
    assert Resize((2, 2), (8, 8), 1.0).state_dict() == {}


@pytest.mark.parametrize(
    ("grid", "size", "smoothing"),
    [((26, 26), (416, 416), 6.0), ((4, 10), (64, 160), 2.5), ((9, 5), (72, 40), 0.0), ((3, 2), (6, 4), 4.0)],
)
def test_a_map_is_interpolated_and_then_smoothed(grid, size, smoothing):
    scores = torch.rand(2, *grid, generator=torch.Generator().manual_seed(0))
    pixels = torch.nn.functional.interpolate(scores[:, None].double(), size, mode="bilinear", align_corners=False)
    expected = gaussian_smooth(pixels[:, 0], smoothing).float()
    torch.testing.assert_close(Resize(grid, size, smoothing)(scores), expected, atol=1e-6, rtol=0)


def test_what_is_alike_everywhere_stays_as_it_is():
    maps = Resize((5, 7), (40, 56), 3.0)(torch.full((1, 5, 7), 2.0))
    torch.testing.assert_close(maps, torch.full((1, 40, 56), 2.0), atol=1e-6, rtol=0)
