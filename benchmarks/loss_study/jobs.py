"""What the loss study trains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.config.schema import Config

ORIGINAL, PROPOSED = "5*mse + 0.5*ssim + nll", "mse + vae"
REFERENCE = "5*mse + 0.5*ssim + nll_reference"
"""The original loss with the formula that the published code has for its likelihood."""
TRACED = (1, 10, 100, 1000, 9600)
SHOWN = ("image_AUROC", "pixel_AUROC", "pixel_AP", "pixel_AUPRO@0.3")
Part = Literal["published", "repair"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training."""

    part: Part
    arm: str
    category: str
    objective: str
    seed: int = 0
    settings: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    """Steps after which it is measured, beside the last."""

    @property
    def config(self) -> Config:
        never = ("training.compile=never", "training.checkpoint_every=1000000000")
        return apply_settings(
            preset_config("paper", seed=self.seed, objective=self.objective), (*never, *self.settings)
        )

    @property
    def file(self) -> str:
        words = "-".join([self.part, self.category, self.arm, self.objective, f"seed{self.seed}"])
        return "".join(c if c.isalnum() else "_" for c in words) + ".json"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A change of what is trained, beside the two losses."""

    name: str
    settings: tuple[str, ...] = ()
    terms: str = ""
    """Added to each objective."""


NEIGHBOURS, PRETRAINED, DETACHED = "model.mask_radius=0", "model.pretrained_patches=true", "model.detached_density=true"
FINE, MIDDLE = "model.patch_size=16", "model.patch_size=32"
ARMS = (
    Arm(name="corrected"),
    Arm(name="detached", settings=(DETACHED,)),
    Arm(name="neighbours", settings=(NEIGHBOURS,)),
    Arm(name="neighbours, patch 16, pretrained", settings=(NEIGHBOURS, FINE, PRETRAINED)),
    Arm(name="neighbours, patch 16", settings=(NEIGHBOURS, FINE)),
    Arm(name="patch 16", settings=(FINE,)),
    Arm(name="var and cov", terms=" + var + 0.04*cov"),
    Arm(name="pretrained", settings=(PRETRAINED,)),
    Arm(name="patch 32", settings=(MIDDLE,)),
    Arm(name="neighbours, patch 16, pretrained, detached", settings=(NEIGHBOURS, FINE, PRETRAINED, DETACHED)),
    Arm(name="neighbours, detached", settings=(NEIGHBOURS, DETACHED)),
    Arm(name="neighbours, patch 16, detached", settings=(NEIGHBOURS, FINE, DETACHED)),
    Arm(name="neighbours, patch 32, pretrained", settings=(NEIGHBOURS, MIDDLE, PRETRAINED)),
)
"""In the order of their worth: each change alone, and sets of those that belong together."""
AGAIN = ("neighbours, patch 16, pretrained", "neighbours, patch 16", "corrected")
"""Of these arms, seeds 1 and 2 as well."""


def published_jobs(short: bool) -> Iterator[Job]:
    """`faithful` and `corrected` at 512 x 512 for 400 epochs (9,600 steps), then more seeds for 100."""
    faithful = "model.variant=faithful"
    looks = (600, 2400, 4800)
    if short:  # to try the script
        small = ("training.steps=4", "model.image_size=64", "model.patch_size=16", "model.width=64", "model.mixtures=2")
        for category in ("transistor", "bottle"):
            yield Job(part="published", arm="faithful", category=category, objective=REFERENCE, looks=(2,),
                      settings=(faithful, *small))  # fmt: skip
            yield Job(part="published", arm="corrected", category=category, objective=ORIGINAL, settings=small)
        return
    both, hundred = ("transistor", "bottle"), ("training.steps=2400",)
    long: list[tuple[str, str, tuple[str, ...]]] = [
        ("faithful", REFERENCE, (faithful,)),
        ("corrected", ORIGINAL, ()),
        ("corrected", PROPOSED, ()),
    ]
    for arm, objective, settings in long:
        for category in both:
            yield Job(part="published", arm=arm, category=category, objective=objective, settings=settings, looks=looks)
    more: list[tuple[str, str, tuple[str, ...], int]] = [
        ("faithful, 100 epochs", REFERENCE, (faithful,), 1),
        ("faithful, 100 epochs", REFERENCE, (faithful,), 2),
        ("faithful, 100 epochs", PROPOSED, (faithful,), 0),
        ("faithful, 100 epochs", ORIGINAL, (faithful,), 0),
        ("corrected, 100 epochs", ORIGINAL, (), 1),
        ("corrected, 100 epochs", ORIGINAL, (), 2),
        ("corrected, 100 epochs", PROPOSED, (), 1),
        ("corrected, 100 epochs", PROPOSED, (), 2),
    ]
    for arm, objective, settings, seed in more:
        for category in both:
            yield Job(part="published", arm=arm, category=category, objective=objective, seed=seed,
                      settings=(*settings, *hundred), looks=(600,))  # fmt: skip


def repair_jobs(short: bool) -> Iterator[Job]:
    """Every arm at 256 x 256 for 1,000 steps, both losses, three categories."""
    schedule: tuple[str, ...] = ("model.image_size=256", "training.steps=1000")
    if short:
        schedule = ("model.image_size=64", "model.width=32", "model.mlp_width=32", "model.depth=1", "model.heads=4",
                    "training.steps=2", "model.mixtures=2", "model.patch_size=16")  # fmt: skip
    categories = ("transistor", "bottle", "fabric")
    for arms, seeds in ((ARMS, (0,)), ([arm for arm in ARMS if arm.name in AGAIN], (1, 2))):
        for arm in arms[:3] if short else arms:
            for seed in seeds:
                for category in categories:
                    for objective in (PROPOSED, ORIGINAL):
                        yield Job(part="repair", arm=arm.name, category=category, objective=objective + arm.terms,
                                  seed=seed, settings=(*schedule, *arm.settings))  # fmt: skip
