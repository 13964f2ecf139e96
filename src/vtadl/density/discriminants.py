"""Directions in which known kinds of defects move a patch: Fisher's linear discriminants.

Source: R. A. Fisher, The use of multiple measurements in taxonomic problems, 1936.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.density.gaussian import GaussianMoments

AROUND = 5
"""Patches along a side of the area around a patch that counts with it."""
RIDGE = 0.3
"""Added to the variances, in units of each channel's own: few defects do not decide on hundreds of directions."""


class Discriminants(nn.Module):
    """The largest of a patch's logarithms of how much more likely a defect of some kind is than a good patch.

    A distance asks how far a patch is from good ones, in whatever direction; two deviations in one of hundreds hardly
    change it. A discriminant knows where to look. Each takes a kind's patches and good ones as two Gaussians of one
    covariance, so it is linear in the patch and in the area around it. The area is relative to the whole image, whose
    exposure and grain are no defects. On good patches each has mean 0 and deviation 1.

    State: ``own`` and ``around``, ``(K, D)`` for K kinds, and ``offset``, ``(K,)``; all zero before `fit`.

    Args:
        width: D.
        kinds: K.
    """

    def __init__(self, width: int, kinds: int) -> None:
        super().__init__()
        self.own: Tensor
        self.around: Tensor
        self.offset: Tensor
        self.register_buffer("own", torch.zeros(kinds, width))
        self.register_buffer("around", torch.zeros(kinds, width))
        self.register_buffer("offset", torch.zeros(kinds))

    @property
    def fitted(self) -> bool:
        return bool(self.own.any())

    def fit(self, good: GaussianMoments, kinds: Sequence[GaussianMoments]) -> None:
        """Find the direction of each kind.

        Args:
            good: of good patches, as `described` and ``(N, 2 D, 1, 1)``.
            kinds: of defective ones, a kind each; one of which there are none is never found.
        """
        mean_E, covariance_EE = _mean_and_covariance(good)
        scale_E = covariance_EE.diagonal().sqrt().clamp_min(1e-6)
        ridge_EE = (RIDGE * scale_E.square()).diag()
        for number, kind in enumerate(kinds):
            if kind.count == 0:
                continue
            kind_mean_E, kind_covariance_EE = _mean_and_covariance(kind)
            within_EE = (covariance_EE + kind_covariance_EE) / 2 + ridge_EE
            direction_E = torch.linalg.solve(within_EE, kind_mean_E - mean_E)
            direction_E = direction_E / (direction_E @ covariance_EE @ direction_E).sqrt().clamp_min(1e-12)
            self.own[number], self.around[number] = direction_E.float().chunk(2)
            self.offset[number] = -direction_E @ mean_E

    def forward(self, embeddings_BDHW: Tensor) -> Tensor:
        """``(B, D, H, W)`` to ``(B, H, W)``, in deviations of good patches."""
        own_BKHW, around_BKHW = (
            torch.einsum("kd,bdhw->bkhw", w_KD, embeddings_BDHW) for w_KD in (self.own, self.around)
        )
        # Averaging what is projected gives the same as projecting what is averaged, for far fewer channels.
        offset_BK = self.offset - embeddings_BDHW.mean((2, 3)) @ self.around.T
        scores_BHW: Tensor = (own_BKHW + _averaged(around_BKHW) + offset_BK[..., None, None]).amax(1)
        return scores_BHW


def described(embeddings_BDHW: Tensor) -> Tensor:
    """What a discriminant sees of each patch, ``(B, 2 D, H, W)``: itself, and how its area differs from the image."""
    mean_BD11 = embeddings_BDHW.mean((2, 3), keepdim=True)
    return torch.cat([embeddings_BDHW, _averaged(embeddings_BDHW) - mean_BD11], dim=1)


def _averaged(x_BCHW: Tensor) -> Tensor:
    return F.avg_pool2d(x_BCHW, AROUND, 1, AROUND // 2, count_include_pad=False)


def _mean_and_covariance(moments: GaussianMoments) -> tuple[Tensor, Tensor]:
    """In double precision: a ridge is all that keeps directions of no variance apart."""
    return moments.mean_PD[0].double(), moments.scatter_PDD[0].double() / max(moments.count, 1)
