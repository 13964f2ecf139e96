"""Resizing as matrix products, against torch's own."""

import pytest
import torch

from vtadl.nn.resize import Resize


@pytest.mark.parametrize(("size", "new_size"), [((416, 416), (256, 256)), ((64, 160), (64, 96)), ((40, 30), (55, 30))])
def test_it_is_torchs_bilinear_with_antialiasing(size, new_size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = Resize(size, new_size)(images)
    expected = torch.nn.functional.interpolate(images, new_size, mode="bilinear", antialias=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_nothing_of_it_is_stored():
    assert Resize((8, 8), (4, 4)).state_dict() == {}
