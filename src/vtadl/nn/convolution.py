"""Stacks of transposed convolutions that compute what PyTorch's do, in less time and memory on a CPU.

Pixels are laid out channels last; a convolution to few channels works on blocks of pixels; in evaluation batch
normalisation is folded into the weights; in training its output is recomputed image by image instead of kept.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

FEW = 8
"""Convolutions of stride 1 to fewer channels than this are packed: processors compute 8 or 16 channels at once."""
CHEAP = 100
"""Products for each value of a convolution's output below which it is computed again sooner than kept."""
CHEAP_GRADIENT = 300
"""The same for the gradient of its input."""
PACK = 2
"""Side in pixels of the blocks that packing makes channels of."""


class UpconvolutionStack(nn.Module):
    """Transposed convolutions, with batch normalisation and ReLU between them: ``(B, C, H, W)`` to ``(B, O, H', W')``.

    Args:
        layers: (in, out, kernel, stride, padding) of each convolution.
        idle_biases: whether convolutions before a normalisation have biases, which it subtracts again; the last has.
    """

    def __init__(self, layers: Sequence[tuple[int, int, int, int, int]], *, idle_biases: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(*layer, bias=idle_biases or index == len(layers) - 1)
            for index, layer in enumerate(layers)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(layer[1]) for layer in layers[:-1])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = x_BCHW.contiguous(memory_format=torch.channels_last)
        *convolutions, last = cast(list[nn.ConvTranspose2d], list(self.convolutions))
        norms = cast(list[nn.BatchNorm2d], list(self.norms))
        if not self.training:
            for convolution, norm in zip(convolutions, norms, strict=True):
                x = F.relu_(_convolved(x, *_folded(convolution, norm), convolution))
            return _convolved(x, last.weight, last.bias, last)
        if not _leanly(x, norms):
            for convolution, norm in zip(convolutions, norms, strict=True):
                x = F.relu_(norm(convolution(x)))
            return _convolved(x, last.weight, last.bias, last)
        return _lean(x, norms, [*convolutions, last])


def packed_weight(weight: Tensor, pack: int) -> Tensor:
    """The kernel of a transposed convolution of stride 1 between blocks of ``pack x pack`` pixels.

    The pixel at place b of an output block sees the pixel at place a of the input block ``tap`` blocks before at the
    distance ``pack * tap + b - a``; where the kernel does not reach, the weight is zero.

    Args:
        weight: ``(C, O, kernel, kernel)``.
        pack: side of a block in pixels.

    Returns:
        ``(C pack^2, O pack^2, taps, taps)``; places stand behind channels, as ``pixel_unshuffle`` has them.
    """
    kernel = weight.shape[-1]
    taps = (kernel + pack - 2) // pack + 1
    place = torch.arange(pack, device=weight.device)
    distance = pack * torch.arange(taps, device=weight.device) + place[:, None] - place[:, None, None]  # (a, b, tap)
    distance = torch.where((distance >= 0) & (distance < kernel), distance, kernel)
    zeros = F.pad(weight, (0, 1, 0, 1))  # index ``kernel`` is a zero
    spread = zeros[:, :, distance[:, None, :, None, :, None], distance[None, :, None, :, None, :]]
    blocks, (channels, outputs) = pack * pack, weight.shape[:2]  # spread is (C, O, a_y, a_x, b_y, b_x, tap_y, tap_x)
    return spread.permute(0, 2, 3, 1, 4, 5, 6, 7).reshape(channels * blocks, outputs * blocks, taps, taps)


def _pack(convolution: nn.ConvTranspose2d) -> int:
    few = convolution.out_channels < FEW and convolution.stride == (1, 1) and convolution.padding == (0, 0)
    return PACK if few else 1


def _packed(x_BCHW: Tensor, pack: int) -> Tensor:
    if pack == 1:
        return x_BCHW
    return F.pixel_unshuffle(F.pad(x_BCHW, (0, -x_BCHW.shape[3] % pack, 0, -x_BCHW.shape[2] % pack)), pack)


def _convolved(x_BCHW: Tensor, weight: Tensor, bias: Tensor | None, convolution: nn.ConvTranspose2d) -> Tensor:
    """The convolution with other weights than its own, packed where that is faster."""
    pack = _pack(convolution)
    if pack == 1:
        return _transposed(x_BCHW, weight, bias, convolution)
    y = F.conv_transpose2d(_packed(x_BCHW, pack), packed_weight(weight, pack), _packed_bias(bias, pack))
    return _unpacked(y, x_BCHW, convolution, pack)


def _packed_bias(bias: Tensor | None, pack: int) -> Tensor | None:
    return None if bias is None else bias.repeat_interleave(pack * pack)


def _unpacked(y: Tensor, x_BCHW: Tensor, convolution: nn.ConvTranspose2d, pack: int) -> Tensor:
    height, width = (side + convolution.kernel_size[0] - 1 for side in x_BCHW.shape[-2:])
    return F.pixel_shuffle(y, pack)[..., :height, :width]


def _transposed(x: Tensor, weight: Tensor, bias: Tensor | None, convolution: nn.ConvTranspose2d) -> Tensor:
    stride, padding = convolution.stride[0], cast(int, convolution.padding[0])
    return F.conv_transpose2d(x, weight, bias, stride=stride, padding=padding)


def _folded(convolution: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution with the normalisation after it."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale_C = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift_C = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
    return convolution.weight * scale_C[:, None, None], norm.bias - shift_C * scale_C


def _leanly(x: Tensor, norms: Sequence[nn.BatchNorm2d]) -> bool:
    """Whether `_NormReluConvolution` applies; accelerators, half precision and shared statistics go the plain way."""
    plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    return plain and all(type(norm) is nn.BatchNorm2d for norm in norms)


def _lean(x: Tensor, norms: Sequence[nn.BatchNorm2d], convolutions: Sequence[nn.ConvTranspose2d]) -> Tensor:
    """The stack in training, with little kept for the gradient."""
    if not norms:
        return _convolved(x, convolutions[0].weight, convolutions[0].bias, convolutions[0])
    x = convolutions[0](x)
    again: Callable[[], Tensor] | None = None
    for norm, convolution in zip(norms, convolutions[1:], strict=True):
        with _kept_as(x, again):
            y, again = _normalised_convolved(x, norm, convolution)
        x = y
    return x


def _normalised_convolved(
    x: Tensor, norm: nn.BatchNorm2d, convolution: nn.ConvTranspose2d
) -> tuple[Tensor, Callable[[], Tensor] | None]:
    """``convolution(relu(norm(x)))`` in training, with the running statistics moved on, and how to get it again."""
    mean_C, inverse_C = _normalisation(x, norm)
    pack = _pack(convolution)
    weight = packed_weight(convolution.weight, pack) if pack > 1 else convolution.weight
    bias = _packed_bias(convolution.bias, pack) if pack > 1 else convolution.bias
    geometry = (convolution.stride[0], cast(int, convolution.padding[0]), pack)
    operands = (x, norm.weight, norm.bias, mean_C, inverse_C, weight, bias, geometry)
    y: Tensor = _NormReluConvolution.apply(*operands)  # type: ignore[no-untyped-call]
    products = convolution.in_channels * (convolution.kernel_size[0] / convolution.stride[0]) ** 2
    if pack > 1:
        return _unpacked(y, x, convolution, pack), None
    return y, (lambda: _images_convolved(*operands)) if products < CHEAP else None


def _normalisation(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation of each channel in the batch; the running statistics move on."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    with torch.no_grad():
        count = x.numel() // x.shape[1]
        mean_C, var_C = _batch_statistics(x)
        norm.running_mean.lerp_(mean_C, norm.momentum)
        norm.running_var.lerp_(var_C * (count / (count - 1)), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        return mean_C, (var_C + norm.eps).rsqrt()


@contextmanager
def _kept_as(x: Tensor, again: Callable[[], Tensor] | None) -> Iterator[None]:
    """Let what is saved for the gradient of operations in here hold ``again`` instead of ``x``."""
    if again is None:
        yield
        return
    # Not ``x`` itself, which these functions would keep alive.
    place, shape, compute = x.data_ptr(), x.shape, again

    def pack(tensor: Tensor) -> Tensor | Callable[[], Tensor]:
        return compute if (tensor.data_ptr(), tensor.shape) == (place, shape) else tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept if isinstance(kept, Tensor) else kept()):
        yield


class _NormReluConvolution(torch.autograd.Function):
    """Batch normalisation with given batch statistics, ReLU and transposed convolution, one image at a time.

    Only the input is kept for the gradient; what stands between is an elementwise function of it and is computed again.
    """

    @staticmethod
    def forward(ctx: Any, *operands: Any) -> Tensor:
        """`_images_convolved`."""
        *tensors, _bias, ctx.geometry = operands
        ctx.save_for_backward(*tensors)
        return _images_convolved(*operands)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gain_C, shift_C, mean_C, inverse_C, weight = ctx.saved_tensors
        stride, padding, pack = ctx.geometry
        gradient_y = gradients[0]

        def inner(index: int) -> tuple[Tensor, Tensor]:
            """What the convolution saw, and the gradient of what the ReLU saw."""
            h = _packed(_rectified(_image(x, index), gain_C, shift_C, mean_C, inverse_C), pack)
            # Transposed convolution swaps the roles of input and output, so its gradients are a convolution's.
            through = F.conv2d(_image(gradient_y, index), weight, stride=stride, padding=padding).mul_(h > 0)
            return h, through if pack == 1 else F.pixel_shuffle(through, pack)[..., : x.shape[2], : x.shape[3]]

        # A second array of the size of x is spared where few products make what would stand in it.
        twice = weight.shape[1] * weight.shape[2] * weight.shape[3] < CHEAP_GRADIENT * pack**2
        gradient_x = x if twice else torch.empty_like(x)
        gradient_weight = torch.zeros_like(weight)
        gradient_shift_C, gradient_gain_C = torch.zeros_like(shift_C), torch.zeros_like(gain_C)
        for index in range(len(x)):
            h, through = inner(index)
            gradient_weight += conv2d_weight(  # type: ignore[no-untyped-call]
                _image(gradient_y, index), weight.shape, h, stride=stride, padding=padding
            )
            del h  # the next lines make as much again
            gradient_shift_C += through.sum((0, 2, 3))
            gradient_gain_C += (_image(x, index) - mean_C[:, None, None]).mul_(through).sum((0, 2, 3))
            if not twice:
                gradient_x[index] = through[0]
        gradient_gain_C *= inverse_C
        # The batch's mean and variance depend on every pixel as well.
        count = x.numel() // x.shape[1]
        scale_C = gain_C * inverse_C
        slope_C = -scale_C * inverse_C * gradient_gain_C / count
        offset_C = -scale_C * gradient_shift_C / count - slope_C * mean_C
        for index in range(len(x)):
            through = inner(index)[1] if twice else _image(gradient_x, index)
            image_x = torch.addcmul(offset_C[:, None, None], _image(x, index), slope_C[:, None, None])
            gradient_x[index] = image_x.addcmul_(through, scale_C[:, None, None])[0]
        gradient_bias = gradient_y.sum((0, 2, 3)) if ctx.needs_input_grad[6] else None
        return gradient_x, gradient_gain_C, gradient_shift_C, None, None, gradient_weight, gradient_bias, None


@torch.no_grad()
def _images_convolved(
    x: Tensor,
    gain_C: Tensor,
    shift_C: Tensor,
    mean_C: Tensor,
    inverse_C: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: tuple[int, int, int],
) -> Tensor:
    stride, padding, pack = geometry
    y = torch.empty(0)
    for index in range(len(x)):
        h = _packed(_rectified(_image(x, index), gain_C, shift_C, mean_C, inverse_C), pack)
        part = F.conv_transpose2d(h, weight, bias, stride=stride, padding=padding)
        if index == 0:
            y = torch.empty((len(x), *part.shape[1:]), dtype=x.dtype, memory_format=torch.channels_last)
        y[index] = part[0]
    return y


def _image(x: Tensor, index: int) -> Tensor:
    # A slice, because x[index][None] would not be recognised as channels last, and be copied.
    return x[index : index + 1]


def _batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the count) of each channel.

    Each column of pixels is one group: its sums run over few values, which float32 adds up well, and along contiguous
    memory. The groups, all of one size, are then merged.
    """
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch * height, width * channels)
    mean, var = torch.batch_norm_update_stats(rows, None, None, 0.0)
    between_C, mean_C = torch.var_mean(mean.reshape(width, channels), dim=0, correction=0)
    return mean_C, var.reshape(width, channels).mean(0) + between_C


def _rectified(x: Tensor, gain_C: Tensor, shift_C: Tensor, mean_C: Tensor, inverse_C: Tensor) -> Tensor:
    scale_C = gain_C * inverse_C
    return torch.addcmul((shift_C - mean_C * scale_C)[:, None, None], x, scale_C[:, None, None]).relu_()
