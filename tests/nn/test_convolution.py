import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.nn.convolution import UpconvolutionStack, packed_weight

pytestmark = pytest.mark.native

LAYERS = {
    "strides and a packed end": ((3, 4, 3, 2, 1), (4, 5, 5, 3, 1), (5, 6, 4, 1, 0), (6, 3, 7, 1, 0)),
    "doubling": ((8, 6, 4, 2, 1), (6, 4, 4, 2, 1), (4, 3, 4, 2, 1)),
    "one layer": ((3, 2, 4, 2, 1),),
    "one packed layer": ((3, 2, 5, 1, 0),),
    "wide kernel, computed again": ((2, 30, 3, 1, 1), (30, 12, 9, 1, 4), (12, 9, 3, 3, 0), (9, 3, 3, 1, 0)),
}


def plain(stack: UpconvolutionStack, x: Tensor) -> Tensor:
    """What the stack computes, by PyTorch's own modules."""
    for convolution, norm in zip(stack.convolutions, stack.norms, strict=False):
        x = F.relu(norm(convolution(x)))
    return stack.convolutions[-1](x)


@pytest.fixture(params=itertools.product(LAYERS, [False, True]), ids=lambda case: f"{case[0]}, {case[1]}")
def stack(request) -> UpconvolutionStack:
    torch.manual_seed(3)
    name, idle_biases = request.param
    stack = UpconvolutionStack(LAYERS[name], idle_biases=idle_biases).double()
    for norm in stack.norms:
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return stack


def images(stack: UpconvolutionStack) -> Tensor:
    channels = stack.convolutions[0].in_channels
    generator = torch.Generator().manual_seed(4)
    return torch.randn(3, channels, 5, 4, dtype=torch.float64, generator=generator).requires_grad_()


def test_evaluation(stack):
    stack.eval()
    torch.testing.assert_close(stack(images(stack)), plain(stack, images(stack)))


def test_training_values_gradients_and_running_statistics(stack):
    twin, x = copy.deepcopy(stack), images(stack)
    ours, theirs = stack(x), plain(twin, x)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    gradients = torch.autograd.grad((ours * weights).sum(), [x, *stack.parameters()])
    expected = torch.autograd.grad((theirs * weights).sum(), [x, *twin.parameters()])
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)
    for name, state in twin.state_dict().items():
        torch.testing.assert_close(stack.state_dict()[name], state)


def test_biases_that_a_normalisation_subtracts_are_left_out_on_request():
    for idle_biases in (False, True):
        *inner, last = UpconvolutionStack(LAYERS["doubling"], idle_biases=idle_biases).convolutions
        assert [convolution.bias is not None for convolution in inner] == [idle_biases] * len(inner)
        assert last.bias is not None


def test_subclassed_normalisation_is_called(stack):
    """Statistics that several processes share replace the normalisation's forward."""

    class Counted(nn.BatchNorm2d):
        calls = 0

        def forward(self, x):
            Counted.calls += 1
            return super().forward(x)

    twin, x = copy.deepcopy(stack), images(stack)
    for norm in stack.norms:
        norm.__class__ = Counted
    torch.testing.assert_close(stack(x), plain(twin, x))
    assert Counted.calls == len(stack.norms)


def test_half_precision_trains():
    torch.manual_seed(0)
    stack = UpconvolutionStack(LAYERS["doubling"])
    x = torch.randn(2, 8, 4, 4)
    exact = stack(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = stack(x)
    rough.float().sum().backward()
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


def test_less_is_kept_than_by_autograd():
    def kept(forward) -> int:
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: sizes.update({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes()}) or x, lambda x: x
        ):
            result = forward()
        assert result.requires_grad
        return sum(sizes.values())

    stack = UpconvolutionStack(((8, 16, 4, 2, 1), (16, 16, 4, 2, 1), (16, 8, 4, 2, 1)))
    x = torch.randn(4, 8, 16, 16)
    assert kept(lambda: stack(x)) < 0.6 * kept(lambda: plain(stack, x))


@pytest.mark.parametrize("kernel", [1, 2, 5, 6])
@pytest.mark.parametrize("pack", [2, 3])
def test_packed_weight(kernel, pack):
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, 3, 2 * pack, 3 * pack, dtype=torch.float64, generator=generator)
    weight = torch.randn(3, 2, kernel, kernel, dtype=torch.float64, generator=generator)
    packed = F.conv_transpose2d(F.pixel_unshuffle(x, pack), packed_weight(weight, pack))
    expected = F.conv_transpose2d(x, weight)
    torch.testing.assert_close(F.pixel_shuffle(packed, pack)[..., : expected.shape[2], : expected.shape[3]], expected)
