"""Presets: published and recommended compositions by name, as a plain table."""

import dataclasses
from dataclasses import dataclass, field

from vtadl.config.schema import (
    Config,
    ContextConfig,
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


DEFAULT_PRESET = "context"

CONTEXT_TRAINING = TrainingConfig(
    steps=300,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    schedule="one-cycle",
    gradient_clip=1.0,
)

PRESETS: dict[str, Preset] = {
    "gaussian": Preset(
        summary="one Gaussian per position over frozen EfficientNet-Lite0 features (PaDiM-like); fits in seconds",
        model=GaussianConfig(),
    ),
    "memory": Preset(
        summary="nearest neighbours in a coreset of the training patches (PatchCore-like); for parts in any pose",
        model=MemoryConfig(),
    ),
    "anomalydino": Preset(
        summary="'memory' as in AnomalyDINO: cosines over DINOv2 ViT-S/14, whose weights you bring (docs/backbones.md)",
        model=MemoryConfig(
            backbone="vit:vit_small_patch14_dinov2.safetensors",
            image_size=448,
            size=16_384,  # the patches of 16 images at this size
            distance="cosine",
        ),
    ),
    "context": Preset(
        summary="each patch's likelihood given its context, by a transformer, with both densities above; minutes",
        model=ContextConfig(),
        objective="nll",
        training=CONTEXT_TRAINING,
    ),
    "fast": Preset(
        summary="'context' with a tenth of its training",
        model=ContextConfig(),
        objective="nll",
        training=dataclasses.replace(CONTEXT_TRAINING, steps=30),
    ),
    "dinomaly": Preset(
        summary="'context' as in Dinomaly: noisy embeddings of DINOv2 ViT-S/14, weights yours (docs/context.md)",
        model=ContextConfig(
            backbone="vit:vit_small_patch14_reg4_dinov2.safetensors",
            backbone_blocks=(8,),
            image_size=392,
            pooling=1,
            context_scale=1.0,
            mask_radius=-1,  # nothing is masked: noise alone keeps what comes out from being what went in
            dropout=0.2,
            noise=0.2,
        ),
        objective="cosine",
        training=CONTEXT_TRAINING,
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
