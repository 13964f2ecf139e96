"""From settings to a model: the one place that knows every kind."""

from collections.abc import Callable

import torch
from torch import nn

from vtadl.backbones.build import Backbone, BareBackbone, build_backbone
from vtadl.config.schema import (
    BackboneConfig,
    Config,
    ContextConfig,
    FusionConfig,
    GaussianConfig,
    MemoryConfig,
    PaperConfig,
)
from vtadl.errors import ConfigError
from vtadl.losses.objective import Objective, parse_objective
from vtadl.models.context import ContextDetector
from vtadl.models.detector import GaussianDetector, MemoryDetector
from vtadl.models.fusion import FusionDetector
from vtadl.models.paper import PaperDetector
from vtadl.models.paper_network import PaperModel

AnyDetector = GaussianDetector | MemoryDetector | FusionDetector | ContextDetector | PaperDetector


def build_model(config: Config) -> AnyDetector:
    """The model that the settings describe, not yet fitted or trained; its first weights come from torch's generator.

    Raises:
        ConfigError: settings that do not fit together.
        BundleError: a frozen backbone's weights are not on this machine, or are not what they should be.
    """
    return _assembled(config, build_backbone)


def empty_model(config: Config) -> nn.Module:
    """`build_model` without memory for any weights: names and shapes, no values.

    Raises:
        ConfigError: settings that do not fit together.
        BundleError: the files of a frozen backbone that is the user's own are not on this machine.
    """
    with torch.device("meta"):
        return _assembled(config, BareBackbone)


def check_model(config: Config) -> None:
    """Find settings that do not fit together, before any image is read or weight is loaded.

    Raises:
        ConfigError: there are some.
        BundleError: as `empty_model`.
    """
    empty_model(config)


def _assembled(config: Config, backbone_of: Callable[[BackboneConfig], Backbone]) -> AnyDetector:
    match config.model:
        case GaussianConfig() | MemoryConfig() | FusionConfig() if config.objective is not None:
            raise ConfigError(
                f"preset '{config.preset}' is not trained and takes no objective; leave out '{config.objective}'"
            )
        case GaussianConfig():
            return GaussianDetector(config.model, backbone_of(config.model))
        case MemoryConfig():
            return MemoryDetector(config.model, backbone_of(config.model))
        case FusionConfig(second_backbone=None):
            return FusionDetector(config.model, backbone_of(config.model))
        case FusionConfig():
            return FusionDetector(config.model, backbone_of(config.model), backbone_of(config.model.second))
        case PaperConfig():
            return PaperDetector(PaperModel(config.model, _objective(config, "5*mse + 0.5*ssim + nll")))
        case ContextConfig():
            return ContextDetector(config.model, _objective(config, "nll"), backbone_of(config.model))


def _objective(config: Config, example: str) -> Objective:
    if config.objective is None:
        raise ConfigError(f"preset '{config.preset}' needs an objective, such as {example}")
    return parse_objective(config.objective)
