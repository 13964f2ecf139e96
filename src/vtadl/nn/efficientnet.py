"""EfficientNet-Lite0's feature stages, with batch normalisation folded into the convolutions.

Source: M. Tan and Q. Le, EfficientNet, ICML 2019; the "lite" variants (no squeeze-and-excitation, ReLU6) are
Google's of 2020. The published weights were trained in TensorFlow, hence its "same" padding and epsilon of 1e-3.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """A row of the architecture table: ``blocks`` inverted bottlenecks of one width."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int
    reduction: int
    """Stride of the stage's output against the image."""


STEM_WIDTH = 32
STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, width=16, reduction=2),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, width=24, reduction=4),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, width=40, reduction=8),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, width=80, reduction=16),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, width=112, reduction=16),
)
"""The stages down to stride 16. The published network continues to stride 32, which no detector here uses."""


class SameConv(nn.Module):
    """A convolution with TensorFlow's "same" padding, optionally followed by ReLU6.

    At stride 2 on an even side the padding is asymmetric: one more behind than in front.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, relu6: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.stride, self.groups, self.relu6 = stride, groups, relu6

    def forward(self, x_BCHW: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        above, below, rows = _same_padding(x_BCHW.shape[-2], kernel, self.stride)
        left, right, columns = _same_padding(x_BCHW.shape[-1], kernel, self.stride)
        if torch.compiler.is_exporting():  # a graph's convolution takes any padding, and its runtime joins the two
            return self._convolved(F.pad(x_BCHW, (left, right, above, below)), (0, 0))
        # PyTorch's pads both sides alike, and a padded copy takes as long as the convolution itself. So where the sides
        # differ, both get a whole step more than the front needs, and the first row or column is left out.
        high, top = (above, 0) if above == below else (above + self.stride, 1)
        wide, first = (left, 0) if left == right else (left + self.stride, 1)
        return self._convolved(x_BCHW, (high, wide))[..., top : top + rows, first : first + columns]

    def _convolved(self, x_BCHW: Tensor, padding: tuple[int, int]) -> Tensor:
        y_BCHW = F.conv2d(x_BCHW, self.weight, self.bias, self.stride, padding, groups=self.groups)
        # clamp_, unlike relu6, runs in place: the expanded maps are the largest tensors of the network.
        return y_BCHW.clamp_(0, 6) if self.relu6 else y_BCHW


class InvertedBottleneck(nn.Module):
    """Expand by 1 x 1, convolve each channel by itself, project by 1 x 1; residual where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = SameConv(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = SameConv(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.project = SameConv(hidden, outputs, 1, relu6=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.project(self.depthwise(self.expand(x_BCHW)))
        return x_BCHW + y_BCHW if self.residual else y_BCHW


class EfficientNetLite0(nn.Module):
    """The network down to stride 16, for features only."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_WIDTH, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs = STEM_WIDTH
        for stage in STAGES:
            blocks = []
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(
                    InvertedBottleneck(
                        inputs, stage.width, kernel=stage.kernel, stride=stride, expansion=stage.expansion
                    )
                )
                inputs = stage.width
            self.stages.append(nn.Sequential(*blocks))

    def first(self, count: int) -> nn.Sequential:
        """The network down to so many stages: images as for ``forward`` to the features of the last of these."""
        return nn.Sequential(self.stem, *list(self.stages)[:count])

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        """Features of each stage.

        Args:
            images_B3HW: ``(B, 3, H, W)``, scaled to [-1, 1] (mean = std = 0.5).

        Returns:
            One ``(B, width, ceil(H / reduction), ceil(W / reduction))`` for each row of ``STAGES``.
        """
        x_BCHW = self.stem(images_B3HW)
        features = []
        for stage in self.stages:
            x_BCHW = stage(x_BCHW)
            features.append(x_BCHW)
        return features


def folded_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the published tensors into this module's, batch normalisation folded into weights and biases.

    Raises:
        KeyError: a tensor of the published network is missing.
    """
    state = _folded(published, "_conv_stem", "_bn0", "stem")
    number = 0
    for stage_index, stage in enumerate(STAGES):
        for block in range(stage.blocks):
            theirs, ours = f"_blocks.{number}", f"stages.{stage_index}.{block}"
            if stage.expansion > 1:
                state |= _folded(published, f"{theirs}._expand_conv", f"{theirs}._bn0", f"{ours}.expand")
            state |= _folded(published, f"{theirs}._depthwise_conv", f"{theirs}._bn1", f"{ours}.depthwise")
            state |= _folded(published, f"{theirs}._project_conv", f"{theirs}._bn2", f"{ours}.project")
            number += 1
    return state


def _folded(published: Mapping[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Tensor]:
    # In float64, so that folding costs no accuracy beyond the final rounding.
    gamma, beta, mean, variance = (
        published[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / (variance + BATCH_NORM_EPSILON).sqrt()
    weight = published[f"{conv}.weight"].double() * scale[:, None, None, None]
    return {f"{name}.weight": weight.float(), f"{name}.bias": (beta - mean * scale).float()}


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """What to add in front and behind, and how many results there then are."""
    results = -(-side // stride)
    total = max((results - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2, results
