"""VT-ADL's encoder: patches, a class token, learned positions, transformer blocks."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vtadl.backbones.build import first_stages
from vtadl.config.schema import PaperConfig
from vtadl.nn.attention import Block
from vtadl.nn.efficientnet import STAGES
from vtadl.nn.patches import LearnedPositions, PatchEmbedding, patchify

STAGES_USED = 2
"""Of the pretrained network, down to stride 4."""


class PaperEncoder(nn.Module):
    """``(B, 3, S, S)`` images in [0, 1] to ``(B, N, D)`` encoded patches, the class token dropped.

    The faithful variant scales attention by ``width ** -0.5`` and ends with the last block. The corrected one scales by
    head width and ends with the layer norm that a pre-norm transformer needs, without learned gains: it fixes the
    length of the embeddings, so that a likelihood cannot be raised by shrinking them all.

    Source: P. Mishra et al., VT-ADL, ISIE 2021, section III-A.
    """

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        faithful = config.variant == "faithful"
        patches = (config.image_size // config.patch_size) ** 2
        scale = config.width**-0.5 if faithful else None
        kind = PretrainedPatches if config.pretrained_patches else PatchEmbedding
        self.patches = kind(config.patch_size, config.width)
        self.class_token = nn.Parameter(torch.randn(1, 1, config.width))
        self.positions = LearnedPositions(patches + 1, config.width)
        self.blocks = nn.Sequential(
            *(Block(config.width, config.heads, config.mlp_width, scale) for _ in range(config.depth))
        )
        self.norm = nn.Identity() if faithful else nn.LayerNorm(config.width, elementwise_affine=False)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        # On a CPU the decoder takes most of the time and memory is short: computing each block again in the backward
        # pass costs a thirtieth of a step.
        again = self.training and images_B3HW.device.type == "cpu"
        x_BND = _applied(self.patches, images_B3HW, again)
        x_BND = self.positions(torch.cat([self.class_token.expand(len(x_BND), -1, -1), x_BND], dim=1))
        for block in self.blocks:
            x_BND = _applied(block, x_BND, again)
        encoded_BND: Tensor = self.norm(x_BND[:, 1:])
        return encoded_BND


class PretrainedPatches(nn.Module):
    """``(B, 3, H, W)`` to ``(B, N, width)``: a linear projection of each patch of a frozen network's first features.

    They are those of EfficientNet-Lite0 at stride 4, its first stage that the default detector uses.

    Args:
        patch_size: side of a patch in pixels, a multiple of 4.
        width: dimensions of an embedding.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.frozen = first_stages(STAGES_USED)
        last = STAGES[STAGES_USED - 1]
        self.cells = patch_size // last.reduction
        self.projection = nn.Linear(last.width * self.cells**2, width)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        with torch.no_grad():
            features_BCHW = self.frozen(images_B3HW * 2 - 1)
        embeddings_BND: Tensor = self.projection(patchify(features_BCHW, self.cells))
        return embeddings_BND


def _applied(module: nn.Module, x: Tensor, again: bool) -> Tensor:
    """The module's output; ``again`` keeps nothing else for the gradient than the input."""
    if again:
        return cast(Tensor, checkpoint(module, x, use_reentrant=False, preserve_rng_state=False))
    return cast(Tensor, module(x))
