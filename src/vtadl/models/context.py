"""Preset ``context``: a transformer's density of each patch given its context, and training-free ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.backbones.build import build_backbone
from vtadl.backbones.input_size import grid_shape, input_size, view_size
from vtadl.config.schema import ContextConfig
from vtadl.density.combination import Combination, background
from vtadl.density.discriminants import Discriminants, described
from vtadl.density.gaussian import GaussianMoments, PositionGaussian
from vtadl.density.memory import PatchMemory, SampledPatches
from vtadl.errors import ConfigError
from vtadl.losses.objective import Objective
from vtadl.models.context_network import ContextNetwork
from vtadl.models.detector import check_covariances
from vtadl.nn.resize import Resize

COMPONENTS = ("gaussian", "memory", "discriminant", "coarse", "wide", "context")
LOCALIZATION = ("gaussian", "memory")
"""Parts that say where an image is anomalous: those that see small patches. The discriminant too, where there is
one."""
LOCALIZATION_WITHOUT_POSITION = (*LOCALIZATION, "coarse")
"""The same of objects whose position varies: a small patch that may be from anywhere says less than a large one."""
DETECTION = ("coarse", "wide", "context")
"""Parts that say whether it is: those that see large ones. One small patch of many is anomalous in any image."""
TEXTURES = ("scratch", "smear", "shaded")
"""Kinds of synthetic defects (`vtadl.data.synthetic_defects`) that the discriminant knows: those that change a texture,
and look much alike whatever the texture is. The others show something else, which may look like anything."""
WIDE, APART = 10, 4
"""Patches along a side of the windows that the component ``wide`` sees, and from one window to the next. What is a
little wrong all over, such as a grain, shows in no patch but in their average."""

LEAST_SHARE = 0.05
"""Of a patch that a synthetic defect covers, for the patch to count as defective."""


class ContextDetector(nn.Module):
    """Densities over the embeddings of one backbone, of an image and of a smaller copy: one anomaly map.

    Raises:
        ConfigError: settings that do not fit together.
    """

    def __init__(self, config: ContextConfig, objective: Objective) -> None:
        super().__init__()
        self.config = config
        self.objective = objective
        self.backbone = build_backbone(config)
        self.input_size = input_size(config, self.backbone.multiple, self.backbone.stride)
        rows, columns = grid_shape(config, self.backbone.multiple, self.backbone.stride)
        if rows % config.pooling or columns % config.pooling:
            raise ConfigError(f"model.pooling is {config.pooling}; expected a divisor of the grid's side, {rows}")
        width = self.backbone.width
        self.grid = (rows // config.pooling, columns // config.pooling)
        check_covariances(self.grid, width)
        self.gaussian = PositionGaussian(width, self.grid)
        self.window = (min(WIDE, self.grid[0]), min(WIDE, self.grid[1]))
        windows = [(side - seen) // APART + 1 for side, seen in zip(self.grid, self.window, strict=True)]
        self.wide = PositionGaussian(width, (windows[0], windows[1]))
        self.memory = PatchMemory(width, config.size, position_weight=config.position_weight)
        self.discriminant = Discriminants(width, len(TEXTURES))
        self.view_size = view_size(config, self.backbone.multiple, self.backbone.stride)
        self.shrunk = None if self.view_size == self.input_size else Resize(self.input_size, self.view_size)
        cells = self.backbone.stride * config.pooling
        self.network = ContextNetwork(
            config, objective, width, (self.view_size[0] // cells, self.view_size[1] // cells)
        )
        # Without a smaller copy there is nothing coarser: the Gaussian of small patches stands for it.
        same = self.shrunk is None and self.network.grid == self.grid
        self.coarse = None if same else PositionGaussian(width, self.network.grid)
        are_distances = {"discriminant": False, "context": self.network.residual is not None}
        self.combination = Combination([are_distances.get(name, True) for name in COMPONENTS])
        self.upsampling = self.upsampling_to(self.input_size)

    def upsampling_to(self, size: tuple[int, int]) -> Resize:
        """To maps of any height and width, smoothed as much in shares of the image."""
        return Resize(self.grid, size, self.config.smoothing * size[0] / self.input_size[0])

    @torch.inference_mode()
    def embed(self, images_B3HW: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` in [0, 1] to what the training-free components see: ``(B, D, *grid)``."""
        embeddings_BDHW: Tensor = self.backbone(images_B3HW, self.config.pooling)
        return embeddings_BDHW

    @torch.inference_mode()
    def embed_view(self, images_B3HW: Tensor, embeddings_BDHW: Tensor) -> Tensor:
        """The same images to what the transformer sees, ``(B, D, *network.patches)``: embeddings of a smaller copy."""
        return embeddings_BDHW if self.shrunk is None else self.embed(self.shrunk(images_B3HW))

    def widened(self, embeddings_BDHW: Tensor) -> Tensor:
        """What the component ``wide`` sees, ``(B, D, *wide.grid)``: averages over windows of patches."""
        return F.avg_pool2d(embeddings_BDHW, self.window, APART)

    @torch.inference_mode()
    def components(self, images_B3HW: Tensor) -> Tensor:
        """Each component's score of each patch, ``(B, K, *grid)`` in the order of `COMPONENTS`, each in units of its
        own.
        """
        embeddings_BDHW = self.embed(images_B3HW)
        view_BDhw = self.embed_view(images_B3HW, embeddings_BDHW)
        gaussian_BHW, memory_BHW = self.gaussian(embeddings_BDHW), self.memory(embeddings_BDHW)
        large = (
            gaussian_BHW if self.coarse is None else self.coarse(self.network.coarse(view_BDhw)),
            self.wide(self.widened(embeddings_BDHW)),
            self.network.anomaly_map(view_BDhw),
        )
        large_BHW = (
            F.interpolate(values_Bhw[:, None], self.grid, mode="bilinear", align_corners=False)[:, 0]
            for values_Bhw in large
        )
        return torch.stack([gaussian_BHW, memory_BHW, self.discriminant(embeddings_BDHW), *large_BHW], dim=1)

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        return self.joined(self.components(images_B3HW), self.upsampling)

    @torch.inference_mode()
    def joined(self, values_BKHW: Tensor, upsampling: Resize) -> Tensor:
        """The components' values (`components`) to anomaly maps of ``upsampling``'s size, whose maxima are the images'
        scores.
        """
        score_B, localization_BHW = self.combination(values_BKHW)
        return self.combination.stretched(upsampling(localization_BHW), background(localization_BHW), score_B)


class Fitting:
    """Fits the components that need no steps, and what the transformer's embeddings are relative to.

    Args:
        model: to fit.
        count: images to come before `finish`.
        seed: decides the memory's coreset.
    """

    def __init__(self, model: ContextDetector, count: int, seed: int) -> None:
        self.model = model
        self.moments, self.wide_moments = model.gaussian.moments(), model.wide.moments()
        self.coarse_moments = GaussianMoments()
        self.good_patches, self.synthetic_patches = GaussianMoments(), {kind: GaussianMoments() for kind in TEXTURES}
        self.sampled = SampledPatches(count, torch.Generator().manual_seed(seed))

    @torch.inference_mode()
    def add(self, images_B3HW: Tensor) -> Tensor:
        """Learn from some images, ``(B, 3, H, W)`` in [0, 1]; gives what the transformer sees of them."""
        embeddings_BDHW = self.model.embed(images_B3HW)
        self.moments.update(embeddings_BDHW)
        self.wide_moments.update(self.model.widened(embeddings_BDHW))
        self.sampled.add(embeddings_BDHW)
        self.good_patches.update(_rows(described(embeddings_BDHW)))
        view_BDhw = self.model.embed_view(images_B3HW, embeddings_BDHW)
        self.coarse_moments.update(self.model.network.coarse(view_BDhw))
        return view_BDhw

    @torch.inference_mode()
    def add_synthetic(self, kind: str, images_B3HW: Tensor, masks_BHW: Tensor) -> None:
        """Learn what a kind of `TEXTURES` looks like from images with such defects, and where they are, bool."""
        shares_BHW = F.adaptive_avg_pool2d(masks_BHW.float(), self.model.grid)
        patches_BDHW = described(self.model.embed(images_B3HW))
        patches_ND11 = _rows(patches_BDHW, shares_BHW > LEAST_SHARE)
        if len(patches_ND11):
            self.synthetic_patches[kind].update(patches_ND11)

    @torch.inference_mode()
    def finish(self) -> None:
        """Fit to what was added."""
        self._fit_components()
        self.model.memory.fit(*self.sampled.drawn())
        covariance_DD = self.coarse_moments.scatter_PDD.mean(0) / max(self.coarse_moments.count - 1, 1)
        self.model.network.fit(self.coarse_moments.mean_PD, covariance_DD)

    @torch.inference_mode()
    def extend(self) -> None:
        """Fit the components to what was added since, too; what the transformer was trained on stays what it was."""
        self._fit_components()
        self.model.memory.extend(*self.sampled.drawn())

    def _fit_components(self) -> None:
        self.model.gaussian.fit(self.moments)
        self.model.wide.fit(self.wide_moments)
        if self.model.coarse is not None:
            self.model.coarse.fit(self.coarse_moments)
        if any(moments.count for moments in self.synthetic_patches.values()):
            self.model.discriminant.fit(self.good_patches, list(self.synthetic_patches.values()))


def _rows(values_BDHW: Tensor, counted_BHW: Tensor | None = None) -> Tensor:
    """Each position's values as an image of its own, ``(N, D, 1, 1)``: all, or those that count."""
    values_BHWD = values_BDHW.permute(0, 2, 3, 1)
    values_ND = values_BHWD.flatten(0, 2) if counted_BHW is None else values_BHWD[counted_BHW]
    return values_ND[..., None, None]
