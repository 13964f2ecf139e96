"""Packed scatter matrices: within their stated error, whatever the scales, and of few images too."""

import pytest
import torch

from vtadl.density.packed_scatter import CHUNK, STEPS, pack_scatter, unpack_scatter


def scatter(images, width=9, positions=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_PBD = torch.randn(positions, images, width, generator=generator)
    x_PBD *= torch.logspace(-4, 4, width)  # channels of very different scales
    return x_PBD.transpose(1, 2) @ x_PBD


@pytest.mark.parametrize("images", [1, 3, 200])
@pytest.mark.parametrize(("width", "positions"), [(2, 5), (8, 5), (9, 5), (3, CHUNK), (2, 2 * CHUNK + 3)])
def test_entries_are_off_by_half_a_step_of_their_deviations_at_most(images, width, positions):
    original = scatter(images, width, positions)
    roots = original.diagonal(dim1=1, dim2=2).sqrt()
    error = (unpack_scatter(pack_scatter(original)) - original) / (roots[:, :, None] * roots[:, None])
    rounding = 3 * torch.finfo(torch.float32).eps
    assert float(error.abs().max()) < 0.5 / STEPS + rounding < 1.4e-6


def test_a_channel_that_never_varies_stays_at_0():
    original = scatter(20)
    original[:, 3] = original[:, :, 3] = 0
    again = unpack_scatter(pack_scatter(original))
    assert (again[:, 3] == 0).all() and (again[:, :, 3] == 0).all()
    assert torch.isfinite(again).all()


def test_packing_again_changes_nothing_more():
    once = unpack_scatter(pack_scatter(scatter(20)))
    torch.testing.assert_close(unpack_scatter(pack_scatter(once)), once, rtol=1e-6, atol=0)


def test_the_ends_of_the_range_are_kept():
    original = torch.tensor([[[4.0, 2.0], [2.0, 1.0]], [[4.0, -2.0], [-2.0, 1.0]]])
    packed = pack_scatter(original)
    assert packed["high"].flatten().tolist() == [STEPS >> 4, -STEPS >> 4]
    torch.testing.assert_close(unpack_scatter(packed), original)


def test_a_number_takes_20_bits():
    packed = pack_scatter(scatter(4, width=16, positions=10))
    numbers = 10 * 16 * 15 // 2
    assert packed["high"].nbytes + packed["low"].nbytes == numbers * 20 // 8
