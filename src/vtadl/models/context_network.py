"""A transformer that says what every patch should be, given those around its neighbourhood: preset ``context``.

VT-ADL predicts a density from the very embedding that it scores. Here the embeddings are frozen, and what is predicted
of a patch comes from the patches outside its neighbourhood alone (`vtadl.nn.masked_attention`), so it cannot be copied.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.config.schema import ContextConfig
from vtadl.density.gaussian import PositionGaussian
from vtadl.density.mixture import ContextMixture
from vtadl.density.variational import PatchVae
from vtadl.errors import ConfigError
from vtadl.losses.objective import TERMS as ALL_TERMS
from vtadl.losses.objective import Objective
from vtadl.losses.plugged import plugged_losses
from vtadl.nn.masked_attention import NeighbourMaskedBlock, outside
from vtadl.nn.noise import generators, standard_normal

TERMS = ("mse", "l1", "cosine", "nll", "vae", "kl")
"""Of an objective; the first three are of reconstructed embeddings here, not of pixels."""
MAX_PATCHES = 4096
"""Of the transformer: each attends to all, so time and memory grow with the square."""
RIDGE = 0.01
"""Added to the covariance before whitening, as a share of each variance."""


class ContextNetwork(nn.Module):
    """Embeddings of a frozen backbone, ``(B, D, H, W)``, to how unlikely each is, given those around it.

    They are taken relative to each position's mean and whitened by the covariance over all positions; `fit` finds both
    before any step.

    Args:
        config: sizes.
        objective: what is minimised; it decides which heads there are and what the score is.
        backbone_width: D.
        grid: H rows and W columns, N patches in all.

    Raises:
        ConfigError: sizes that do not fit together, or a term that needs pixels.
    """

    def __init__(self, config: ContextConfig, objective: Objective, backbone_width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        _check(config, objective, grid)
        self.config = config
        self.objective = objective
        self.plugged = plugged_losses(objective)
        self.grid = grid
        places, width = grid[0] * grid[1], config.width
        self.mean: Tensor
        self.whitening: Tensor
        self.visible: Tensor
        self.register_buffer("mean", torch.zeros(places, backbone_width))
        self.register_buffer("whitening", torch.eye(backbone_width))
        self.register_buffer("visible", outside(grid, config.mask_radius), persistent=False)
        self.embedding = nn.Sequential(nn.Linear(backbone_width, width), nn.GELU(), nn.Linear(width, width))
        self.key_position = nn.Parameter(torch.randn(places, width) * 0.02)
        self.query_position = nn.Parameter(torch.randn(places, width) * 0.02)
        self.key_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(NeighbourMaskedBlock(width, config.heads) for _ in range(config.depth))
        self.mixture = self.reconstruction = self.variational = None
        if "mixture" in objective.heads:
            self.mixture = ContextMixture(width, backbone_width, config.mixtures)
        if "reconstruction" in objective.heads:
            self.reconstruction = nn.Linear(width, backbone_width)
        if "variational" in objective.heads:
            decodes = any(name == "vae" for name, _ in objective.terms)
            self.variational = PatchVae(backbone_width, config.latent_width, context_width=width, decodes=decodes)
        self.residual: PositionGaussian | None = None
        if self.mixture is not None or self.reconstruction is not None:
            self.residual = PositionGaussian(backbone_width, grid)
        self._begin_at_the_mean()

    @torch.no_grad()
    def fit(self, mean_PD: Tensor, covariance_DD: Tensor) -> None:
        """Take over what embeddings are relative to.

        Args:
            mean_PD: of each position of the grid, row by row.
            covariance_DD: about those means, over all positions.
        """
        ridge = RIDGE * (covariance_DD.diagonal() + covariance_DD.diagonal().mean()).clamp_min(1e-6)
        factor_DD = torch.linalg.cholesky(covariance_DD + ridge.diag())
        identity_DD = torch.eye(len(factor_DD), device=factor_DD.device)
        self.mean.copy_(mean_PD)
        self.whitening.copy_(torch.linalg.solve_triangular(factor_DD, identity_DD, upper=False))

    @torch.inference_mode()
    def fit_residual(self, batches: Iterable[Tensor]) -> None:
        """Fit each position's covariance about what the trained network expects there; nothing where it expects none.

        Args:
            batches: embeddings ``(B, D, H, W)`` of good images.
        """
        if self.residual is None:
            return
        moments = self.residual.moments()
        for embeddings_BDHW in batches:
            moments.update(self._residuals(embeddings_BDHW))
        self.residual.fit_moments(moments)

    def terms(
        self, embeddings_BDHW: Tensor, /, *, seed: int, step: int, samples: Sequence[int]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """As `vtadl.models.protocol.Network.terms`, of embeddings ``(B, D, H, W)``."""
        noise = generators(seed, step, samples)
        z_BND = self._whitened(embeddings_BDHW)
        context_BNC = self._context(z_BND, self._kept(noise, z_BND))
        values = self._values(z_BND, context_BNC, noise)
        variance = context_BNC.detach().float().flatten(0, 1).var(0, correction=0).mean()
        return {name: values[name].mean() for name, _ in self.objective.terms}, variance

    @torch.inference_mode()
    def score_patches(self, embeddings_BDHW: Tensor) -> Tensor:
        """How unlikely each patch is, ``(B, H, W)``.

        The objective fixes what it is. Where the network expects an embedding (a likelihood's mean, or a
        reconstruction), it is each patch's Mahalanobis distance from what is expected of it: the variances that a
        network predicts for each dimension by itself say far less of what is unusual than the covariance does. Else it
        is the bound of the patch.
        """
        if self.residual is not None:
            distance_BHW: Tensor = self.residual(self._residuals(embeddings_BDHW))
            return distance_BHW
        z_BND = self._whitened(embeddings_BDHW)
        values = self._values(z_BND, self._context(z_BND, None), None)
        score_BN = torch.stack([weight * values[name] for name, weight in self.objective.densities]).sum(0)
        return score_BN.view(-1, *self.grid)

    def compile_parts(self) -> None:
        """Let torch.compile work on the blocks."""
        for block in self.blocks:
            block.compile(dynamic=False)  # one kernel for every full batch, resumed or not

    def _begin_at_the_mean(self) -> None:
        # What a block adds and what a head predicts begin at (or next to) nothing: the first guess is the mean.
        for block in self.blocks:
            assert isinstance(block, NeighbourMaskedBlock)
            last = block.mlp[2]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(last.weight)
        heads = [self.reconstruction]
        if self.mixture is not None:
            heads += [self.mixture.mean, self.mixture.log_var]
        for head in heads:
            if head is not None:
                nn.init.normal_(head.weight, std=1e-3)

    def _whitened(self, embeddings_BDHW: Tensor) -> Tensor:
        return (embeddings_BDHW.flatten(2).transpose(1, 2) - self.mean) @ self.whitening.T

    def _context(self, z_BND: Tensor, kept_BN: Tensor | None) -> Tensor:
        keys_BNC = self.key_norm(self.embedding(z_BND) + self.key_position)
        queries_BNC = self.query_position.expand(len(z_BND), -1, -1)
        visible = self.visible if kept_BN is None else self.visible & kept_BN[:, None, None, :]
        for block in self.blocks:
            queries_BNC = block(queries_BNC, keys_BNC, visible)
        context_BNC: Tensor = self.norm(queries_BNC)
        return context_BNC

    def _residuals(self, embeddings_BDHW: Tensor) -> Tensor:
        """Each patch's embedding, whitened, less what is expected of it, ``(B, D, H, W)``."""
        z_BND = self._whitened(embeddings_BDHW)
        residuals_BND = z_BND - self._expected(self._context(z_BND, None))
        return residuals_BND.transpose(1, 2).reshape(embeddings_BDHW.shape)

    def _expected(self, context_BNC: Tensor) -> Tensor:
        if self.reconstruction is not None:
            reconstructed_BND: Tensor = self.reconstruction(context_BNC)
            return reconstructed_BND
        assert self.mixture is not None
        return self.mixture.expected(context_BNC)

    def _kept(self, noise: Sequence[np.random.Generator], z_BND: Tensor) -> Tensor | None:
        if self.config.dropout == 0:
            return None
        drawn = np.stack([generator.random(z_BND.shape[1]) for generator in noise])
        return torch.from_numpy(drawn >= self.config.dropout).to(z_BND.device)

    def _values(
        self, z_BND: Tensor, context_BNC: Tensor, noise: Sequence[np.random.Generator] | None
    ) -> dict[str, Tensor]:
        """Every term that a head serves, of each patch: ``(B, N)``."""
        values: dict[str, Tensor] = {}
        if self.mixture is not None:
            values["nll"] = self.mixture(z_BND, context_BNC)
        if self.reconstruction is not None:
            expected_BND = self._expected(context_BNC)
            values["mse"] = (z_BND - expected_BND).square().mean(-1)
            values["l1"] = (z_BND - expected_BND).abs().mean(-1)
            values["cosine"] = 1 - F.cosine_similarity(z_BND, expected_BND, dim=-1)
            for name, loss in self.plugged.items():
                values[name] = loss(expected_BND, z_BND).expand(z_BND.shape[:2])
        if self.variational is not None:
            shape = (z_BND.shape[1], self.config.latent_width)
            bound = self.variational(
                z_BND, None if noise is None else standard_normal(noise, shape, z_BND), context_BNC
            )
            values |= {"kl": bound.kl} if bound.vae is None else {"kl": bound.kl, "vae": bound.vae}
        return values


def _check(config: ContextConfig, objective: Objective, grid: tuple[int, int]) -> None:
    foreign = [name for name, _ in objective.terms if name in ALL_TERMS and name not in TERMS]
    if foreign:
        raise ConfigError(
            f"objective '{objective}': '{foreign[0]}' is no loss of preset 'context', which sees embeddings; choose "
            f"from: {', '.join(TERMS)}"
        )
    if config.width % config.heads:
        raise ConfigError(f"model.width is {config.width}; expected a multiple of model.heads, {config.heads}")
    rows, columns = grid
    if max(grid) <= 2 * config.mask_radius + 1:
        raise ConfigError(
            f"model.mask_radius is {config.mask_radius}, on {rows} x {columns} patches; expected more patches "
            "along a side than the neighbourhood has: lower model.mask_radius or model.pooling, or raise "
            "model.image_size"
        )
    if rows * columns > MAX_PATCHES:
        raise ConfigError(
            f"{rows * columns:,} patches are too many for the transformer; expected {MAX_PATCHES:,} at most: give a "
            "smaller model.image_size or a larger model.pooling"
        )
