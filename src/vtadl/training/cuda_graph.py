"""A training step on a GPU as one graph (CUDA Graphs), for networks whose steps are many small kernels."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from vtadl.models.protocol import GraphableNetwork
from vtadl.training.gradients import Gradients, Terms

PLAIN_STEPS = 2
"""Steps of each batch size before a graph of it is made: libraries set themselves up in the first."""


class GraphedGradients:
    """`vtadl.training.gradients.Gradients` by graphs, one for each size of the batch, after some plain steps."""

    def __init__(self, network: GraphableNetwork, plain: Gradients) -> None:
        self.network, self.plain = network, plain
        self.graphs: dict[int, StepGraph] = {}
        self.plain_steps: Counter[int] = Counter()

    def __call__(self, examples: Tensor, step: int, samples: Sequence[int], share: float) -> Terms:
        """See `vtadl.training.gradients.Differentiate`."""
        count = len(examples)
        if self.plain_steps[count] < PLAIN_STEPS:
            self.plain_steps[count] += 1
            return self.plain(examples, step, samples, share)
        inputs = [examples, *self.network.draw(self.plain.seed, step, samples)]
        if count not in self.graphs:
            self.graphs[count] = StepGraph(
                lambda images, *noise: self.plain.backward(lambda: self.network.terms_under(images, noise), share),
                [tensor.to(examples.device) for tensor in inputs],
                self.plain.parameters,
            )
        return self.graphs[count].replay(inputs)


class StepGraph:
    """The kernels of a step's terms and gradients, recorded once and launched together ever after.

    There are some 1,700, most of them of a few microseconds, and launching them one by one takes a processor several
    times as long as they take a GPU. ``compute`` gives terms and variance of the inputs, tensors on the GPU of the
    shapes of all later ones, and the parameters their gradients.
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
