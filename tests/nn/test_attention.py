import pytest
import torch
from torch import nn

from vtadl.nn.attention import Attention, Block


def explicit(attention: Attention, x: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention head by head and row by row."""
    width = x.shape[-1]
    q, k, v = (x @ part.T for part in attention.qkv.weight.split(width))
    head = width // attention.heads
    out = torch.zeros_like(x)
    for image in range(len(x)):
        for start in range(0, width, head):
            part = slice(start, start + head)
            for row in range(x.shape[1]):
                logits = torch.stack([scale * q[image, row, part] @ key for key in k[image, :, part]])
                out[image, row, part] = torch.exp(logits - logits.logsumexp(0)) @ v[image, :, part]
    return out @ attention.out.weight.T + attention.out.bias


@pytest.mark.parametrize(("scale", "used"), [(None, 4**-0.5), (0.3, 0.3)])
def test_attention_is_the_explicit_sum(scale, used):
    torch.manual_seed(0)
    attention = Attention(12, 3, scale).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(attention(x), explicit(attention, x, used))


def test_block_is_pre_norm_with_two_skips():
    torch.manual_seed(0)
    block = Block(8, 2, 16).double()
    reference = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    with torch.no_grad():
        reference.self_attn.in_proj_weight.copy_(block.attention.qkv.weight)
        reference.self_attn.in_proj_bias.zero_()
        reference.self_attn.out_proj.load_state_dict(block.attention.out.state_dict())
        reference.norm1.load_state_dict(block.attention_norm.state_dict())
        reference.norm2.load_state_dict(block.mlp_norm.state_dict())
        reference.linear1.load_state_dict(block.mlp[0].state_dict())
        reference.linear2.load_state_dict(block.mlp[2].state_dict())
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), reference(x))
