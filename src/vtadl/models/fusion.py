"""Presets ``fusion`` and ``accurate``: the mean of densities that see different things, each on the same scale.

A Gaussian per position finds what is missing or misplaced; a memory finds what looks like nothing seen before; over a
second backbone, a memory for each of its blocks finds what the first one has no eye for. Each one's log distances are
standardised by those of training images that it did not learn (`vtadl.density.standardisation`), and the mean is taken.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vtadl.backbones.build import Backbone
from vtadl.backbones.input_size import grid_shape, input_size
from vtadl.backbones.names import TRANSFORMERS
from vtadl.config.schema import FusionConfig
from vtadl.data.training_images import TrainingImages
from vtadl.density.standardisation import LogMoments
from vtadl.errors import BundleError
from vtadl.models.fusion_components import Fitting, GaussianComponent, MemoryComponent
from vtadl.models.protocol import Fitted, Session
from vtadl.nn.resize import Resize

Component = GaussianComponent | MemoryComponent

LEFT_OUT = 100
"""Training images whose scores standardise the components, at most."""
KEPT_NUMBERS = 50_000_000
"""Numbers in the embeddings of those images, at most: 100 MB in half precision."""


class FusionDetector(nn.Module):
    """Densities over the embeddings of one or two frozen backbones, fused.

    Raises:
        ConfigError: settings that do not fit together.
    """

    def __init__(self, config: FusionConfig, backbone: Backbone, second_backbone: Backbone | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.second_backbone = second_backbone
        self.input_size = input_size(config, backbone.multiple, backbone.stride)
        grid = grid_shape(config, backbone.multiple, backbone.stride)
        components: list[Component] = [
            GaussianComponent(backbone.width, grid),
            # Cosines suit transformers, whose channels share a scale.
            MemoryComponent(backbone.width, grid, config.size, cosine=config.backbone.startswith(TRANSFORMERS)),
        ]
        self.resize: Resize | None = None
        if second_backbone is not None:
            second = config.second
            self.resize = Resize(self.input_size, input_size(second, second_backbone.multiple, second_backbone.stride))
            grid = grid_shape(second, second_backbone.multiple, second_backbone.stride)
            blocks = len(second.backbone_blocks or (0,))
            width = second_backbone.width // blocks
            components += [MemoryComponent(width, grid, config.size, cosine=True) for _ in range(blocks)]
        self.components = nn.ModuleList(components)
        self.upsampling = nn.ModuleList(Resize(one.grid, self.input_size, config.smoothing) for one in components)

    @property
    def _components(self) -> list[Component]:
        return cast("list[Component]", list(self.components))

    def embed(self, images_B3HW: Tensor) -> list[Tensor]:
        """Images ``(B, 3, H, W)`` in [0, 1] to each backbone's embeddings, ``(B, D, H, W)``."""
        embedded = [self.backbone(images_B3HW)]
        if self.second_backbone is not None and self.resize is not None:
            embedded.append(self.second_backbone(self.resize(images_B3HW)))
        return embedded

    def shown(self, embedded: Sequence[Tensor]) -> list[Tensor]:
        """What each component sees of the embeddings."""
        first_BDHW, *second = embedded
        blocks = len(self.components) - 2
        return [first_BDHW, first_BDHW, *(x_BDHW for joined in second for x_BDHW in joined.chunk(blocks, dim=1))]

    @torch.inference_mode()
    def fit(self, images: TrainingImages, session: Session) -> Fitted:
        """Learn each density in one pass, and score some of the images as if they had not been learned.

        The seed decides the coresets; nothing else is random.
        """
        return self._learn(images, session, None)

    @torch.inference_mode()
    def teach(self, images: TrainingImages, session: Session, learned: Mapping[str, Tensor]) -> Fitted:
        """See `vtadl.models.protocol.Teachable.teach`.

        The Gaussian is merged: mean and scatter are those of all images, up to rounding. The memories are extended and
        thinned, on their earlier scale. What good images score unseen is the mean of earlier and new, by their number.

        Raises:
            BundleError: it is not this detector's.
        """
        self._check(learned)
        return self._learn(images, session, {name: value.to(session.device) for name, value in learned.items()})

    def _check(self, learned: Mapping[str, Tensor]) -> None:
        expected: dict[str, tuple[int, ...]] = {"images": (), "components.0.count": ()}
        positions, width = self._components[0].density.mean.shape  # type: ignore[misc]
        triangle = width * (width - 1) // 2
        shapes: dict[str, tuple[int, ...]] = {"deviation": (positions, width), "high": (positions, triangle)}
        shapes["low"] = ((positions * triangle + 1) // 2,)
        expected |= {f"components.0.{name}": shape for name, shape in shapes.items()}
        for position, component in enumerate(self._components):
            start = f"components.{position}."
            expected |= {f"{start}log_mean": component.grid, f"{start}log_square": component.grid}
            expected |= {f"{start}scored": (), f"{start}weight": ()}
        differing = {name for name, shape in expected.items() if name not in learned or learned[name].shape != shape}
        if differing or not all(bool(value.isfinite().all()) for value in learned.values()):
            raise BundleError(
                f"what the run keeps of its images does not fit its weights ({', '.join(sorted(differing)[:3])}); "
                "restore learned.safetensors or train again"
            )

    def _learn(self, images: TrainingImages, session: Session, learned: Mapping[str, Tensor] | None) -> Fitted:
        earlier = [_of_component(learned, position) for position in range(len(self.components))]
        count = len(images) + (0 if learned is None else int(learned["images"]))
        fittings = [
            one.fitting(count, session.seed, before) for one, before in zip(self._components, earlier, strict=True)
        ]
        kept = _Kept(len(images))
        for images_B3HW in session.batches(images, self.input_size):
            embedded = self.embed(images_B3HW)
            for fitting, embeddings_BDHW in zip(fittings, self.shown(embedded), strict=True):
                fitting.add(embeddings_BDHW)
            kept.add(embedded)
        now = {"images": torch.tensor(count)}
        for position, before in enumerate(earlier):
            fitting = fittings.pop(0)  # and what it holds goes before the next one is fitted
            fitting.finish()
            logs = self._standardise(position, fitting, kept, before, images.roi_mask)
            now |= {f"components.{position}.{name}": value for name, value in {**fitting.learned(), **logs}.items()}
        return Fitted(learned={name: value.cpu() for name, value in now.items()})

    def _standardise(
        self,
        position: int,
        fitting: Fitting,
        kept: "_Kept",
        earlier: Mapping[str, Tensor] | None,
        roi_mask: NDArray[np.bool_] | None,
    ) -> dict[str, Tensor]:
        """Set a component's scale; returns what that rests on, for `teach`."""
        component = self._components[position]
        unseen_NHW = fitting.unseen(
            (number, self.shown(embedded)[position].float()) for number, embedded in kept.embeddings.items()
        )
        logs = LogMoments.of(unseen_NHW, float(kept.added))
        if earlier is not None:
            logs = LogMoments.from_tensors(earlier).merged(logs)
        component.standardisation.fit(logs, _inside(roi_mask, component.grid).to(unseen_NHW.device))
        return logs.tensors()

    @torch.inference_mode()
    def component_maps(self, images_B3HW: Tensor) -> Tensor:
        """Each component's standardised, smoothed map, ``(B, K, H, W)``."""
        seen = self.shown(self.embed(images_B3HW))
        maps = zip(self.components, self.upsampling, seen, strict=True)
        return torch.stack([upsampling(component(x_BDHW)) for component, upsampling, x_BDHW in maps], dim=1)

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        return self.component_maps(images_B3HW).mean(1)


def _of_component(learned: Mapping[str, Tensor] | None, position: int) -> dict[str, Tensor] | None:
    """What was learned of one component, by names of its own."""
    if learned is None:
        return None
    start = f"components.{position}."
    return {name.removeprefix(start): value for name, value in learned.items() if name.startswith(start)}


def _inside(roi_mask: NDArray[np.bool_] | None, grid: tuple[int, int]) -> Tensor:
    """Which patches of a grid see any of the region of interest, bool: some do, however small it is."""
    if roi_mask is None:
        return torch.ones(grid, dtype=torch.bool)
    return F.adaptive_max_pool2d(torch.from_numpy(roi_mask)[None].float(), grid)[0] > 0


class _Kept:
    """Embeddings of evenly spread images, ``(1, D, H, W)`` in half precision, by the images' numbers."""

    def __init__(self, count: int) -> None:
        self.count, self.added = count, 0
        self.embeddings: dict[int, list[Tensor]] = {}

    def add(self, embedded: Sequence[Tensor]) -> None:
        """Take from a batch of images what is to be kept of it."""
        numbers = sum(x_BDHW[0].numel() for x_BDHW in embedded)
        # Of very large images fewer are kept; two at least, for a deviation.
        most = min(LEFT_OUT, max(KEPT_NUMBERS // numbers, 2))
        for row in range(len(embedded[0])):
            if (self.added + row) % -(-self.count // most) == 0:
                self.embeddings[self.added + row] = [x_BDHW[row : row + 1].half() for x_BDHW in embedded]
        self.added += len(embedded[0])
