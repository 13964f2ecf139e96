"""The gradients of a training step: the terms of a batch, weighed by the objective, and back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vtadl.models.protocol import Network

Terms = tuple[Mapping[str, Tensor], Tensor]
"""As `vtadl.models.protocol.Network.terms` gives them."""
Differentiate = Callable[[Tensor, int, Sequence[int], float], Terms]
"""Of examples ``(B, ...)`` on the device, the step, B numbers of the examples, and what share of the batch they are."""


class Gradients:
    """Gives a network's parameters their gradients; ``autocast`` is entered for the forward pass."""

    def __init__(self, network: Network, parameters: Sequence[nn.Parameter], seed: int, autocast: Any) -> None:
        self.network, self.parameters, self.seed, self.autocast = network, parameters, seed, autocast
        self.weights = dict(network.objective.terms)

    def __call__(self, examples: Tensor, step: int, samples: Sequence[int], share: float) -> Terms:
        """See `Differentiate`."""
        for parameter in self.parameters:
            parameter.grad = None
        return self.backward(lambda: self.network.terms(examples, seed=self.seed, step=step, samples=samples), share)

    def backward(self, compute: Callable[[], Terms], share: float) -> Terms:
        """Compute the terms and add the gradients of ``share`` of their weighted sum to what the parameters have."""
        with self.autocast:
            raw, variance = compute()
            loss = torch.stack([self.weights[name] * value for name, value in raw.items()]).sum()
        torch.autograd.backward(loss * share)
        return raw, variance
