"""One anomaly map from several densities: some say whether an image is anomalous, some where in it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

OFFSET = 0.1
"""Added to a distance before its logarithm, a tenth of what is usual: without it, patches that never differ (a blank
border) would have a logarithm without bound and spoil the scale."""
BACKGROUND = 0.2
"""The share of an image's patches, the least anomalous ones, that is taken for its background: little enough that a
part that lies wrong as a whole still leaves some."""
LEAST_HEIGHT = 0.3
"""Deviations that a map's maximum stands above its background, at least, so that it shows something in every image."""


class Combination(nn.Module):
    """Parts' values, each less its mean on good patches and over its deviation there, joined for two questions.

    Whether an image is anomalous is a number, the mean of some parts' maxima. Where it is anomalous is the mean of
    others' maps, stretched so that its maximum is that number and its background is drawn half way to what is usual: an
    image that is a little anomalous all over, by its exposure or its grain, then outlines a defect nearly as well as
    any other.

    Distances enter by their logarithm, so that their mean is a product: what one part alone finds anomalous, such as a
    part that is easily excited, counts less than what all of them do. Log tail probabilities, another way to one scale,
    were compared and are worse: they stretch the tail of the part that is least sure of good patches.

    State: ``location``, ``scale``, ``whether``, ``where``, each ``(K,)`` for K parts; ``usual``, a scalar.

    Args:
        distances: of each part, whether its values are distances, 0 or more and about 1 on good patches; else they are
            in nats, which are logarithms already.
    """

    def __init__(self, distances: Sequence[bool]) -> None:
        super().__init__()
        parts = len(distances)
        self.distances = tuple(distances)
        self.location: Tensor
        self.scale: Tensor
        self.whether: Tensor
        self.where: Tensor
        self.usual: Tensor
        self.register_buffer("location", torch.zeros(parts))
        self.register_buffer("scale", torch.ones(parts))
        self.register_buffer("whether", torch.full((parts,), 1 / parts))
        self.register_buffer("where", torch.full((parts,), 1 / parts))
        self.register_buffer("usual", torch.zeros(()))

    def fit(self, values_BKHW: Tensor) -> None:
        """Find each part's scale from its values on good patches that it did not learn from."""
        values_KN = self._logarithms(values_BKHW).transpose(0, 1).flatten(1)
        self.location = values_KN.mean(1)
        self.scale = values_KN.std(1, correction=0).clamp_min(1e-6)

    def count(self, values_BKHW: Tensor, *, detection_K: Tensor, localization_K: Tensor) -> None:
        """Choose the parts that are asked each question, after `fit`; those that are asked count the same.

        Args:
            values_BKHW: on good images that no part learned from, ``(B, K, H, W)``.
            detection_K: parts that say whether an image is anomalous, bool, one at least.
            localization_K: parts that say where, bool, one at least.
        """
        for weights_K, counted_K in ((self.whether, detection_K), (self.where, localization_K)):
            weights_K.copy_(counted_K / counted_K.sum())
        _, localization_BHW = self(values_BKHW)
        self.usual.copy_(background(localization_BHW).mean())

    def standardised(self, values_BKHW: Tensor) -> Tensor:
        """Deviations above what is usual on good patches, ``(B, K, H, W)``."""
        return (self._logarithms(values_BKHW) - self.location[:, None, None]) / self.scale[:, None, None]

    def forward(self, values_BKHW: Tensor) -> tuple[Tensor, Tensor]:
        """The parts' values to how anomalous each image is, ``(B,)``, and where, ``(B, H, W)``."""
        standard_BKHW = self.standardised(values_BKHW)
        localization_BHW: Tensor = (standard_BKHW * self.where[:, None, None]).sum(1)
        score_B: Tensor = (standard_BKHW.amax((2, 3)) * self.whether).sum(1)
        return score_B, localization_BHW

    def stretched(self, maps_BHW: Tensor, background_B: Tensor, score_B: Tensor) -> Tensor:
        """Maps of where images are anomalous, with the background drawn half way to what is usual and the score as
        maximum.

        What lies between keeps its height, between the drawn background and the map's own maximum; only what comes near
        the maximum follows the score, by the eighth power of its height: by the first, whole outlines would depend on
        it.

        Args:
            maps_BHW: any size, ``(B, H, W)``.
            background_B: of each (`background`).
            score_B: how anomalous each image is.

        Returns:
            ``(B, H, W)``; nothing changes places.
        """
        top_B, base_B = maps_BHW.amax((1, 2)), (background_B + self.usual) / 2
        height_B = (score_B - base_B).clamp_min(LEAST_HEIGHT)
        # Of a map whose own maximum is far above the score, more than the last would turn the top over.
        own_share_B = ((top_B - base_B) / height_B).clamp_min(0).clamp_max(8 / 7)[:, None, None]
        above_BHW = maps_BHW - background_B[:, None, None]
        relative_BHW = above_BHW.clamp_min(0) / (top_B - background_B).clamp_min(1e-3)[:, None, None]
        eighth_power_BHW = relative_BHW.square().square().square()  # `pow` takes 200 times as long
        risen_BHW = own_share_B * relative_BHW + (1 - own_share_B) * eighth_power_BHW
        # Down from the score, so that it is the maximum even where it is below the background.
        stretched_BHW: Tensor = (
            score_B[:, None, None] - height_B[:, None, None] * (1 - risen_BHW) + above_BHW.clamp_max(0)
        )
        return stretched_BHW

    def _logarithms(self, values_BKHW: Tensor) -> Tensor:
        parts = zip(self.distances, values_BKHW.unbind(1), strict=True)
        return torch.stack([(part + OFFSET).log() if is_distance else part for is_distance, part in parts], dim=1)


def background(localization_BHW: Tensor) -> Tensor:
    """How anomalous the least anomalous `BACKGROUND` of each image's patches are at most, ``(B,)``."""
    ordered_BN = localization_BHW.flatten(1).sort(dim=1).values
    background_B: Tensor = ordered_BN[:, int(BACKGROUND * ordered_BN.shape[1])]
    return background_B
