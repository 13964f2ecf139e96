"""Losses of others, between a reconstruction and its target."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vtadl.config import plugins
from vtadl.errors import ConfigError
from vtadl.losses.objective import TERMS, Objective

Loss = Callable[[Tensor, Tensor], Tensor]
"""Reconstruction and target, both ``(B, 3, H, W)`` images in [0, 1] or ``(B, N, D)`` embeddings, to a scalar."""


def expression_of(objective: str | Loss | Mapping[str | Loss, float]) -> str:
    """An objective as Python callers give it: an expression, a loss, or weights by name or loss."""
    if isinstance(objective, Mapping):
        return str(Objective(terms=tuple((plugins.named(loss), float(weight)) for loss, weight in objective.items())))
    return plugins.named(objective)


def plugged_losses(objective: Objective) -> dict[str, Loss]:
    """The objective's losses that are of others, by name.

    Raises:
        ConfigError: one was not given, cannot be imported, or is no function.
    """
    return {name: _loss(name) for name, _ in objective.terms if name not in TERMS}


def _loss(name: str) -> Loss:
    found = plugins.load(plugins.LOSSES, name)
    if not callable(found):
        raise ConfigError(f"loss '{name}' is {type(found).__name__}; expected a function of reconstruction and target")

    def scalar(reconstruction: Tensor, target: Tensor) -> Tensor:
        value = found(reconstruction, target)
        if not isinstance(value, torch.Tensor) or value.ndim != 0:
            shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ConfigError(f"loss '{name}' gave {shape}; expected a scalar tensor, a mean over all values")
        return value

    return scalar
