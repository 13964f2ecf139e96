"""Presets: published and recommended compositions by name, as a plain table."""

from dataclasses import dataclass, field

from vtadl.config.schema import (
    Config,
    ContextConfig,
    FusionConfig,
    GaussianConfig,
    MemoryConfig,
    ModelConfig,
    PaperConfig,
    TrainingConfig,
)
from vtadl.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published or recommended composition, with a line that says what it is."""

    summary: str
    model: ModelConfig
    objective: str | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)


DEFAULT_PRESET = "fusion"

PRESETS: dict[str, Preset] = {
    "fusion": Preset(
        summary="'gaussian' and 'memory' fused: what is misplaced, and what looks like nothing seen; fits in seconds",
        model=FusionConfig(),
    ),
    "accurate": Preset(
        summary="'fusion' with memories over DINOv2 ViT-S/14, whose weights you bring (vtadl backbones)",
        model=FusionConfig(second_backbone="vit:dinov2-small.safetensors", second_blocks=(6, 8)),
    ),
    "gaussian": Preset(
        summary="one Gaussian per position over frozen EfficientNet-Lite0 features (PaDiM-like); fits in seconds",
        model=GaussianConfig(),
    ),
    "memory": Preset(
        summary="nearest neighbours in a coreset of the training patches (PatchCore-like); for parts in any pose",
        model=MemoryConfig(),
    ),
    "context": Preset(
        summary="a transformer's density of each patch given those around it, over frozen features; trained in minutes",
        model=ContextConfig(),
        objective="nll",
        training=TrainingConfig(
            steps=300,
            batch_size=16,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.01,
            schedule="one-cycle",
            gradient_clip=1.0,
        ),
    ),
    "paper": Preset(
        summary="VT-ADL as published (ISIE 2021): trained from nothing, 400 epochs; a GPU is advised",
        model=PaperConfig(),
        objective="5*mse + 0.5*ssim + nll",
    ),
}


def preset_config(name: str, *, seed: int = 0, objective: str | None = None) -> Config:
    """The settings that a preset's name stands for.

    Raises:
        ConfigError: no preset has this name.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}'{did_you_mean(name, PRESETS)}; choose from: {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if objective is not None and preset.objective is None:
        raise ConfigError(f"preset '{name}' is not trained and takes no objective; --objective goes with: {_trained()}")
    return Config(
        preset=name,
        seed=seed,
        objective=objective if objective is not None else preset.objective,
        model=preset.model,
        training=preset.training,
    )


def _trained() -> str:
    return ", ".join(name for name, preset in PRESETS.items() if preset.objective is not None)
