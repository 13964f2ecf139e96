"""Multi-head self-attention and the pre-norm transformer block.

Source: A. Vaswani et al., Attention Is All You Need, NeurIPS 2017; pre-norm as in A. Dosovitskiy et al., ICLR 2021.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """``(B, N, D)`` to ``(B, N, D)``: every position attends to every position, in ``heads`` subspaces.

    Args:
        width: D, a multiple of ``heads``.
        heads: number of subspaces.
        scale: factor of the logits; ``None`` is ``head_width ** -0.5``.
    """

    def __init__(self, width: int, heads: int, scale: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        qkv = self.qkv(x_BND).reshape(*x_BND.shape[:2], 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        attended = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        out_BND: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out_BND


class Block(nn.Module):
    """Attention, then two layers with GELU between, each behind a layer norm and around a skip connection.

    Args:
        width: D of the ``(B, N, D)`` that goes in and comes out.
        heads: of the attention.
        mlp_width: hidden units of the two layers.
        scale: of the attention's logits; ``None`` is ``head_width ** -0.5``.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, scale: float | None = None) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, scale)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.attention(self.attention_norm(x_BND))
        x_BND = x_BND + self.mlp(self.mlp_norm(x_BND))
        return x_BND
