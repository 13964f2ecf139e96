"""What can be set of a run, as frozen dataclasses: ``Config(model=..., training=..., ...)``.

The kind of the model decides which settings it has.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from vtadl.errors import ConfigError

SQUARE = 1.0
"""``model.aspect`` of a square."""


# Numbers are annotated with their ranges. Upper bounds are what a machine can hold: a run folder from elsewhere may
# claim anything.
Side = Annotated[int, (0, 4096)]
Smoothing = Annotated[float, (0, 100)]
Patches = Annotated[int, (1, 1_000_000)]


def _check_ranges(config: Any, section: str) -> None:
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        for low, high in getattr(hint, "__metadata__", ()):
            if value is not None and not low <= value <= high:  # NaN is in no range
                raise ConfigError(f"{section}.{name} is {value}; expected {low:,} to {high:,}")


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A frozen network, and the size of the images that it sees; what every detector over frozen features has."""

    backbone: str = "efficientnet-lite0"
    """A name, or a file or folder of weights: ``vit:FILE.safetensors`` or ``hub:FOLDER`` (`vtadl presets`)."""
    backbone_blocks: tuple[int, ...] | None = None
    """Transformer blocks whose outputs are joined, counted from 1; ``None``: the last, of one trained on labels (no
    layer scale, or Hugging Face's ViT) the middle."""
    backbone_heads: Annotated[int | None, (1, 256)] = None
    """Attention heads of a ``vit:``, which its tensors do not tell; ``None``: one for 64 channels."""
    backbone_scaling: Literal["imagenet", "half"] | None = None
    """What a ``vit:`` was trained on: colours less ImageNet's mean, over its deviation; or less 0.5, over 0.5.
    ``None``: ``imagenet`` where the tensors have layer scale, as DINOv2's do, else ``half``."""
    image_size: Side = 288
    """Side in pixels of the square that an image is resized to; of another ``aspect``, about the square root of the
    area."""
    aspect: Annotated[float | None, (0.1, 10)] = None
    """Width by height of what an image is resized to; ``None``, in TOML ``auto``: what a training finds its images to
    have in common (`vtadl.data.aspect`), which it writes into its settings."""

    def __post_init__(self) -> None:
        _check_ranges(self, "model")
        blocks = self.backbone_blocks
        if blocks is not None and not (0 < len(set(blocks)) == len(blocks) <= 64 and min(blocks) >= 1):
            raise ConfigError(
                f"model.backbone_blocks is {list(blocks)}; expected different numbers from 1, as in [4, 8, 12]"
            )


@dataclass(frozen=True, kw_only=True)
class GaussianConfig(BackboneConfig):
    """One Gaussian per position over frozen features (PaDiM-like)."""

    kind: Literal["gaussian"] = "gaussian"
    density: str | None = None
    """One of your own in place of the Gaussians, by its entry point or as ``module:attribute``
    (`vtadl.density.plugged`)."""
    smoothing: Smoothing = 4.0
    """Standard deviation in pixels (of ``image_size``) of the Gaussian that smooths the anomaly map."""


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(BackboneConfig):
    """Nearest neighbours in a coreset of the training patches (PatchCore-like)."""

    kind: Literal["memory"] = "memory"
    image_size: Side = 416
    smoothing: Smoothing = 4.0
    size: Patches = 4_000
    """Patches kept in the memory, at most."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """``euclidean``: between embeddings standardised by channel; ``cosine``: 1 - cosine of the angle between them."""
    position_weight: Annotated[float, (0, 1000)] = 0.0
    """What half the image's side adds to a distance, in the units of the score (a good patch's is about 0.7), so that
    patches are compared with those of about their own place; 0: with those of any place."""


@dataclass(frozen=True, kw_only=True)
class FusionConfig(BackboneConfig):
    """A Gaussian per position and a memory of patches, fused; and memories over a second backbone, if there is one."""

    kind: Literal["fusion"] = "fusion"
    image_size: Side = 416
    smoothing: Smoothing = 3.25
    """Standard deviation in pixels (of ``image_size``) of the Gaussian that smooths each component's map."""
    size: Patches = 4_000
    """Patches kept in each memory, at most."""
    second_backbone: str | None = None
    """As ``backbone``; ``None``: one is enough."""
    second_blocks: tuple[int, ...] | None = None
    """Its transformer blocks, a memory for each; ``None``: as ``backbone_blocks``."""
    second_size: Side = 392
    """Its ``image_size``."""

    @property
    def second(self) -> BackboneConfig:
        """What the second backbone is built from; there is one."""
        assert self.second_backbone is not None
        return BackboneConfig(
            backbone=self.second_backbone,
            backbone_blocks=self.second_blocks,
            image_size=self.second_size,
            aspect=self.aspect,
        )


REPAIRED: dict[str, Any] = {"pretrained_patches": True, "residual": "gms", "anomaly_map": "sum"}
"""The values of ``model`` in variant ``repaired``: what was the smallest repair by the rule of ``docs/study.md``."""


def not_repaired(name: str, value: Any) -> ConfigError:
    """The error of a value that variant ``repaired`` has another one of."""
    return ConfigError(
        f"model.{name} is {value!r}, and variant 'repaired' has {REPAIRED[name]!r}; leave it out, or set variant "
        "'corrected' and each change by itself"
    )


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """VT-ADL as published: a transformer over 64-pixel patches, a decoder and a Gaussian mixture density network."""

    kind: Literal["paper"] = "paper"
    variant: Literal["corrected", "faithful", "repaired"] = "corrected"
    """``faithful``: as the published code computes; ``corrected``: as the paper means; ``repaired``, which is ours: the
    corrected one with the values of ``REPAIRED``."""
    image_size: Annotated[int, (8, 2048)] = 512
    patch_size: Annotated[int, (1, 2048)] = 64
    width: Annotated[int, (1, 4096)] = 512
    depth: Annotated[int, (1, 64)] = 6
    heads: Annotated[int, (1, 64)] = 8
    mlp_width: Annotated[int, (1, 16_384)] = 1024
    mixtures: Annotated[int, (1, 1024)] = 10
    noise: Annotated[float, (0, 100)] = 0.2
    """Standard deviation of the Gaussian noise on the encoded patches, in training only."""
    latent_width: Annotated[int, (1, 4096)] = 64
    """Dimensions of z in the variational autoencoder of patch embeddings (terms ``vae`` and ``kl``)."""
    detached_density: bool = False
    """Whether densities learn from the embeddings without moving them, so that other terms alone train the encoder."""
    mask_radius: Annotated[int | None, (0, 64)] = None
    """``None``, as published: densities are of each encoded patch, given that patch itself. A number: of each patch as
    the encoder takes it in, given the patches that are more than so many away; 0 masks that patch alone."""
    pretrained_patches: bool = False
    """Whether patches are cut from the first stage of a frozen EfficientNet-Lite0 instead of from the pixels."""
    residual: Literal["squared", "gms", "ms_ssim"] = "squared"
    """How a reconstruction is compared with its image where that is the anomaly map."""
    anomaly_map: Literal["objective", "standardised", "sum"] = "objective"
    """``objective``: the densities' value of each patch, or without any the residual; ``standardised``: the same, less
    its mean over good images at each pixel and divided by its deviation; ``sum``: of both, standardised."""
    smoothing: Smoothing = 4.0

    def __post_init__(self) -> None:
        if self.variant == "repaired":
            self._repair()
        _check_ranges(self, "model")

    def _repair(self) -> None:
        """Take the repaired values; what was set to anything else contradicts the variant."""
        for name, repaired in REPAIRED.items():
            if getattr(self, name) not in (getattr(PaperConfig, name), repaired):
                raise not_repaired(name, getattr(self, name))
            object.__setattr__(self, name, repaired)


@dataclass(frozen=True, kw_only=True)
class ContextConfig(BackboneConfig):
    """A transformer's density of each patch given the patches around its neighbourhood, over frozen features."""

    kind: Literal["context"] = "context"
    image_size: Side = 256
    smoothing: Smoothing = 4.0
    pooling: Annotated[int, (1, 64)] = 2
    """Cells of the backbone's grid along a side that are averaged into one patch."""
    width: Annotated[int, (1, 2048)] = 192
    depth: Annotated[int, (1, 64)] = 2
    heads: Annotated[int, (1, 64)] = 6
    mask_radius: Annotated[int, (0, 64)] = 2
    """Patches masked from the transformer on each side of the patch that it predicts; 0 masks that patch alone."""
    dropout: Annotated[float, (0, 0.95)] = 0.5
    """Share of the other patches that a training step drops, the same for all patches of an image."""
    mixtures: Annotated[int, (1, 256)] = 1
    latent_width: Annotated[int, (1, 2048)] = 32
    """Dimensions of z in the variational autoencoder of patches given those around them (terms ``vae``, ``kl``)."""


ModelConfig = GaussianConfig | MemoryConfig | FusionConfig | PaperConfig | ContextConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a detector with weights is trained; training-free presets do not use it."""

    epochs: Annotated[int, (1, 1_000_000)] = 400
    steps: Annotated[int | None, (1, 1_000_000_000)] = None
    """Optimiser steps; where it is set it wins over ``epochs``."""
    batch_size: Annotated[int, (1, 65_536)] = 8
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, (1e-12, 1e3)] = 1e-4
    weight_decay: Annotated[float, (0, 1e3)] = 1e-4
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    gradient_clip: Annotated[float | None, (1e-12, 1e12)] = None
    """Largest norm of the gradient; larger ones are scaled down to it."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products and convolutions; ``auto``: bfloat16 on a GPU that has it, else float32."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Whether torch.compile makes the network's parts faster; ``auto``: in long trainings on a GPU with Triton."""
    checkpoint_every: Annotated[int, (1, 1_000_000_000)] = 500
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        _check_ranges(self, "training")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the values of image files are read."""

    range: tuple[int, ...] | None = None
    """Of 16-bit files, the values that count as black and white, or the bits that are used: 8, 10, 12, 14 or 16;
    ``None``, in TOML ``auto``: what a training measures on its images (`vtadl.data.value_range`), which it writes into
    its settings."""

    def __post_init__(self) -> None:
        if self.range is None:
            return
        if len(self.range) == 1 and self.range[0] in (8, 10, 12, 14, 16):
            object.__setattr__(self, "range", (0, 2 ** self.range[0] - 1))
        if len(self.range) != 2 or not 0 <= self.range[0] < self.range[1] <= 65_535:
            raise ConfigError(
                f"data.range is {list(self.range)}; expected auto, 8, 10, 12, 14 or 16 bits, or two values such as "
                "[0, 4095]"
            )

    @property
    def pair(self) -> tuple[int, int] | None:
        """The range as black and white."""
        return None if self.range is None else (self.range[0], self.range[1])


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one run."""

    preset: str
    seed: int = 0
    objective: str | None = None
    """Weighted sum of losses, for presets that are trained; ``None`` where nothing is."""
    model: ModelConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; expected a number from 0 to 2^63 - 1")


def with_aspect(config: Config, aspect: float) -> Config:
    """The settings with ``model.aspect``, where there is such a setting and it is open."""
    if not isinstance(config.model, BackboneConfig) or config.model.aspect is not None:
        return config
    return dataclasses.replace(config, model=dataclasses.replace(config.model, aspect=aspect))


def with_range(config: Config, value_range: tuple[int, int] | None) -> Config:
    """The settings with ``data.range``, where it is open."""
    if value_range is None or config.data.range is not None:
        return config
    return dataclasses.replace(config, data=DataConfig(range=value_range))


def with_measured_of(config: Config, other: Config) -> Config:
    """The settings with ``model.aspect`` and ``data.range`` as in others, where they are open."""
    aspect = getattr(other.model, "aspect", None)
    config = with_range(config, other.data.pair)
    return config if aspect is None else with_aspect(config, aspect)
