"""From settings to a model: the one place that knows every kind."""

import torch
from torch import nn

from vtadl.config.schema import Config, ContextConfig, GaussianConfig, MemoryConfig, PaperConfig
from vtadl.errors import ConfigError
from vtadl.losses.objective import Objective, parse_objective
from vtadl.models.context import ContextDetector
from vtadl.models.detector import GaussianDetector, MemoryDetector, TrainedDetector
from vtadl.models.paper import PaperModel


def build_model(config: Config) -> GaussianDetector | MemoryDetector | TrainedDetector | ContextDetector:
    """The model that the settings describe, not yet fitted or trained; its first weights come from torch's generator.

    Raises:
        ConfigError: settings that do not fit together.
    """
    match config.model:
        case GaussianConfig() | MemoryConfig() if config.objective is not None:
            raise ConfigError(
                f"preset '{config.preset}' is not trained and takes no objective; leave out '{config.objective}'"
            )
        case GaussianConfig():
            return GaussianDetector(config.model)
        case MemoryConfig():
            return MemoryDetector(config.model)
        case PaperConfig():
            objective = _objective(config, "5*mse + 0.5*ssim + nll")
            return TrainedDetector(PaperModel(config.model, objective), objective, config.model.smoothing)
        case ContextConfig():
            return ContextDetector(config.model, _objective(config, "nll"))


def _objective(config: Config, example: str) -> Objective:
    if config.objective is None:
        raise ConfigError(f"preset '{config.preset}' needs an objective, such as {example}")
    return parse_objective(config.objective)


def empty_model(config: Config) -> nn.Module:
    """`build_model`, where it is possible without memory for the weights: names and shapes, no values.

    A frozen backbone's weights are read from this machine in any case, and a density of it has room made for by
    settings that are bounded.

    Raises:
        ConfigError: settings that do not fit together.
    """
    if not isinstance(config.model, PaperConfig | ContextConfig):
        return build_model(config)
    with torch.device("meta"):
        return build_model(config)


def check_model(config: Config) -> None:
    """Find settings that do not fit together, before any image is read.

    Raises:
        ConfigError: there are some.
    """
    empty_model(config)
