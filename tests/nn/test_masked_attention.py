"""What a patch may see, against a slow loop; and that nothing of the rest comes through, at any depth."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtadl.nn.masked_attention import NeighbourMaskedBlock, outside

SIDE, WIDTH = 5, 8


@given(rows=st.integers(1, 6), columns=st.integers(1, 7), radius=st.integers(0, 8))
@settings(max_examples=60, derandomize=True, database=None)
def test_outside_against_a_loop(rows, columns, radius):
    found = outside((rows, columns), radius)
    assert found.dtype == torch.bool and found.shape == (rows * columns, rows * columns)
    for i in range(rows * columns):
        for j in range(rows * columns):
            distance = max(abs(i // columns - j // columns), abs(i % columns - j % columns))
            assert bool(found[i, j]) == (distance > radius)


def test_a_radius_of_0_masks_the_patch_alone():
    assert torch.equal(outside((3, 3), 0), ~torch.eye(9, dtype=torch.bool))


@pytest.fixture
def stacked():
    torch.manual_seed(0)
    blocks = [NeighbourMaskedBlock(WIDTH, 2).double() for _ in range(3)]
    queries = torch.randn(1, SIDE**2, WIDTH, dtype=torch.float64)
    keys = torch.randn(1, SIDE**2, WIDTH, dtype=torch.float64)

    def run(keys, visible):
        x = queries
        for block in blocks:
            x = block(x, keys, visible)
        return x

    return run, keys


@pytest.mark.parametrize("radius", [0, 1])
def test_three_blocks_leak_nothing_of_the_neighbourhood(stacked, radius):
    run, keys = stacked
    visible = outside((SIDE, SIDE), radius)
    keys.requires_grad_()
    output = run(keys, visible)
    for i in range(SIDE**2):
        (gradient,) = torch.autograd.grad(output[0, i].sin().sum(), keys, retain_graph=True)
        told = (gradient[0] != 0).any(-1)
        assert torch.equal(told, visible[i]), i


def test_a_block_against_torchs_attention():
    torch.manual_seed(0)
    block = NeighbourMaskedBlock(WIDTH, 2).double()
    queries, keys = (torch.randn(3, SIDE**2, WIDTH, dtype=torch.float64) for _ in range(2))
    visible = outside((SIDE, SIDE), 1)
    theirs = torch.nn.MultiheadAttention(WIDTH, 2, bias=True, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([block.query.weight, block.key_value.weight]))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(block.out.state_dict())
        attended, _ = theirs(block.query_norm(queries), keys, keys, attn_mask=~visible, need_weights=False)
        x = queries + attended
        torch.testing.assert_close(block(queries, keys, visible), x + block.mlp(block.mlp_norm(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_patch_that_sees_nothing_is_no_harm(dtype):
    """Where dropout takes all that its neighbourhood leaves."""
    torch.manual_seed(0)
    block = NeighbourMaskedBlock(WIDTH, 2).to(dtype)
    queries, keys = (torch.randn(2, 4, WIDTH, dtype=dtype, requires_grad=True) for _ in range(2))
    visible = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    visible[0, :, 1] = False
    output = block(queries, keys, visible)
    output.square().sum().backward()
    assert output.isfinite().all() and queries.grad.isfinite().all() and keys.grad.isfinite().all()
    alone = queries + block.out.bias
    torch.testing.assert_close(output[0, 1], (alone + block.mlp(block.mlp_norm(alone)))[0, 1], rtol=1e-2, atol=1e-2)
