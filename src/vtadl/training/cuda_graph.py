"""A training step on a GPU as one graph (CUDA Graphs), for networks whose steps are many small kernels."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


class StepGraph:
    """The kernels of a step's terms and gradients, recorded once and launched together ever after.

    There are some 1,700, most of them of a few microseconds, and launching them one by one takes a processor several
    times as long as they take a GPU.

    Args:
        compute: gives terms and variance of the inputs, and the parameters their gradients.
        inputs: tensors on the GPU, of the shapes of all later ones.
        parameters: that learn.
    """

    def __init__(
        self,
        compute: Callable[..., tuple[Mapping[str, Tensor], Tensor]],
        inputs: Sequence[Tensor],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]
        self.parameters = parameters
        for parameter in parameters:
            parameter.grad = None  # the graph's own memory is to hold the gradients
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            raw, variance = compute(*self.inputs)
        self.raw, self.variance = {name: value.detach() for name, value in raw.items()}, variance
        self.gradients = [parameter.grad for parameter in parameters]

    def replay(self, inputs: Sequence[Tensor]) -> tuple[Mapping[str, Tensor], Tensor]:
        """Terms and variance of other inputs; the parameters have their gradients. The next call overwrites all."""
        for kept, tensor in zip(self.inputs, inputs, strict=True):
            kept.copy_(tensor)
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        self.graph.replay()
        return self.raw, self.variance
