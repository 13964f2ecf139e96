"""Densities of others: how likely an embedding is, learned from good images as the user's own code does it."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vtadl.config import plugins
from vtadl.errors import ConfigError


class Density(Protocol):
    """A density over the embeddings of a position grid; an ``nn.Module``, whose tensors are what it has learned.

    It is made with the dimensions D of an embedding and the grid's rows and columns, ``Density(width, grid)``. A buffer
    of no rows when it is made may have any number of them when it is fitted.
    """

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn from the embeddings of good images, ``(B, D, H, W)`` at a time, each once; gradients may be used."""

    def __call__(self, embeddings_BDHW: Tensor, /) -> Tensor:
        """How unlikely each patch is, ``(B, H, W)``: higher is more abnormal."""


class PluggedDensity(nn.Module):
    """A density by name, whose scores have the right shape.

    Args:
        name: of an entry point, or ``module:attribute``.
        width: D.
        grid: rows and columns.

    Raises:
        ConfigError: it is not known or given, cannot be made, or is no density.
    """

    def __init__(self, name: str, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.name = name
        if not plugins.is_known(plugins.DENSITIES, name):
            choices = ", ".join(["module:attribute", *plugins.installed(plugins.DENSITIES)])
            raise ConfigError(f"unknown density '{name}'; choose from: {choices}; none: a Gaussian per position")
        made_of = plugins.load(plugins.DENSITIES, name)
        try:
            self.density = made_of(width, grid)
        except Exception as error:  # Another's code may raise anything.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(
                f"density '{name}' cannot be made ({reason}); it is made of the embeddings' width and the grid"
            ) from error
        if not isinstance(self.density, nn.Module) or not callable(getattr(self.density, "fit", None)):
            raise ConfigError(f"density '{name}' makes no torch.nn.Module with a method fit")

    def fit(self, batches: Iterable[Tensor]) -> None:
        """See `Density.fit`."""
        self.density.fit(batches)

    def forward(self, embeddings_BDHW: Tensor) -> Tensor:
        """See `Density.__call__`."""
        scores_BHW = self.density(embeddings_BDHW)
        batch, _, *grid = embeddings_BDHW.shape
        if not isinstance(scores_BHW, torch.Tensor) or scores_BHW.shape != (batch, *grid):
            shape = tuple(scores_BHW.shape) if isinstance(scores_BHW, torch.Tensor) else type(scores_BHW).__name__
            raise ConfigError(f"density '{self.name}' gave {shape}; expected (B, H, W), {(batch, *grid)}")
        return scores_BHW

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in self.density.named_buffers():
            stored = state_dict.get(f"{prefix}density.{name}")
            if buffer.shape[:1] == (0,) and stored is not None and stored.shape[1:] == buffer.shape[1:]:
                buffer.resize_(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
