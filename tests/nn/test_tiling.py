"""Features of tiles are those of the whole."""

import pytest
import torch
from torch import nn

from vtadl.backbones.build import build_backbone
from vtadl.config.schema import GaussianConfig
from vtadl.nn.tiling import tiled


class Pyramid(nn.Module):
    """Features at strides 2 and 4 that depend on 9 pixels around at most."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)

    def forward(self, x):
        fine = self.first(x).relu()
        return [fine, self.second(fine).relu()]


@pytest.mark.parametrize("size", [(32, 32), (48, 20), (64, 80), (16, 16)])
def test_tiles_give_the_whole_also_at_the_border(size):
    network, x = Pyramid().double(), torch.rand(2, 3, *size, dtype=torch.float64)
    for ours, whole in zip(tiled(network, x, tile=16, halo=12, strides=[2, 4]), network(x), strict=True):
        torch.testing.assert_close(ours, whole, atol=1e-12, rtol=0)


def test_a_halo_that_is_too_narrow_shows():
    network, x = Pyramid().double(), torch.rand(1, 3, 64, 64, dtype=torch.float64)
    ours, whole = tiled(network, x, tile=16, halo=0, strides=[2, 4])[1], network(x)[1]
    assert (ours - whole).abs().max() > 1e-3


@torch.inference_mode()
def test_the_backbone_of_a_large_image_is_that_of_the_whole():
    backbone = build_backbone(GaussianConfig())
    image = torch.rand(1, 3, 512, 1024)
    whole = backbone(image)
    backbone.tile = 128
    difference = (backbone(image) - whole).abs().max()
    assert difference <= 1e-5 * whole.abs().max()
