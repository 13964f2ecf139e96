"""VT-ADL's decoder: the encoded patches become one reconstruction vector, and that an image."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.config.schema import PaperConfig
from vtadl.nn.convolution import UpconvolutionStack

VECTOR_WIDTH = 512
"""Length of the reconstruction vector: an 8 x 8 map of 8 channels."""
SEED_SIDE = 8
FIRST_CHANNELS = 128
LAST_CHANNELS = 16
"""Channels of the corrected decoder at 16 pixels, halved with each doubling down to the latter."""


class ReconstructionVector(nn.Module):
    """``(B, N, D)`` encoded patches to ``(B, 512)``: one linear map and a squashing of its length into [0, 1).

    The paper's dynamic routing has a single output capsule, over which its softmax is always 1, so each round of it
    computes this same sum.

    Source: S. Sabour et al., Dynamic Routing Between Capsules, NeurIPS 2017, eq. 1.
    """

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(patches * width, VECTOR_WIDTH, bias=False)

    def forward(self, encoded_BND: Tensor) -> Tensor:
        return squash(self.projection(encoded_BND.flatten(1)))


def squash(s: Tensor) -> Tensor:
    """``|s|^2 / (1 + |s|^2) * s / |s|`` over the last dimension."""
    squared = s.square().sum(-1, keepdim=True)
    return s * (squared + torch.finfo(s.dtype).tiny).sqrt() / (1 + squared)


class FaithfulDecoder(nn.Module):
    """The published decoder, ``(B, 512)`` to ``(B, 3, S, S)`` in [-1, 1] (tanh, although images are in [0, 1]).

    Its layers make 512 pixels of 8; other sizes are resampled from that.
    """

    layers = (
        (8, 16, 3, 2, 1),
        (16, 32, 9, 3, 1),
        (32, 32, 7, 5, 1),
        (32, 16, 9, 2, 0),
        (16, 8, 6, 1, 0),
        (8, 3, 11, 1, 0),
    )
    """(in, out, kernel, stride, padding) of each transposed convolution."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.stack = UpconvolutionStack(self.layers, idle_biases=True)

    def forward(self, vector_BD: Tensor) -> Tensor:
        return _resampled(self.stack(_seed(vector_BD)).tanh_(), self.image_size)


class CorrectedDecoder(nn.Module):
    """``(B, 512)`` to ``(B, 3, S, S)`` in (0, 1), the range of the images, for any image size S.

    Transposed convolutions of kernel 4 and stride 2 (each pixel is made of the same number of products: no
    checkerboard) double 8 pixels while they stay within S; what is missing to S is resampled.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        doublings = max((image_size // SEED_SIDE).bit_length() - 1, 1)
        inner = (max(FIRST_CHANNELS >> stage, LAST_CHANNELS) for stage in range(doublings - 1))
        channels = (VECTOR_WIDTH // SEED_SIDE**2, *inner, 3)
        self.stack = UpconvolutionStack([(*pair, 4, 2, 1) for pair in itertools.pairwise(channels)])

    def forward(self, vector_BD: Tensor) -> Tensor:
        return _resampled(self.stack(_seed(vector_BD)), self.image_size).sigmoid_()


def build_decoder(config: PaperConfig) -> FaithfulDecoder | CorrectedDecoder:
    """The decoder of the configured variant."""
    if config.variant == "faithful":
        return FaithfulDecoder(config.image_size)
    return CorrectedDecoder(config.image_size)


def _seed(vector_BD: Tensor) -> Tensor:
    return vector_BD.reshape(len(vector_BD), -1, SEED_SIDE, SEED_SIDE)


def _resampled(x_B3HW: Tensor, side: int) -> Tensor:
    if x_B3HW.shape[-1] == side:
        return x_B3HW
    return F.interpolate(x_B3HW, (side, side), mode="bilinear", align_corners=False)
