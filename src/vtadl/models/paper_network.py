"""VT-ADL: a transformer over large patches, with the decoder and the densities that an objective asks for.

Source: P. Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization, ISIE 2021.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtadl.config.schema import PaperConfig
from vtadl.density.mixture import ContextMixture, MixtureDensity, MixtureScores
from vtadl.density.variational import PatchBound, PatchVae
from vtadl.errors import ConfigError
from vtadl.losses import reconstruction, ssim
from vtadl.losses.likelihood import bounded_log_var
from vtadl.losses.objective import Objective
from vtadl.losses.plugged import plugged_losses
from vtadl.losses.residual import RESIDUALS
from vtadl.losses.variational import reparameterised, vae_image
from vtadl.losses.vicreg import cov, var
from vtadl.models.decoder import SEED_SIDE, VECTOR_WIDTH, ReconstructionVector, build_decoder
from vtadl.models.encoder import PaperEncoder
from vtadl.models.neighbour_context import NeighbourContext
from vtadl.nn.noise import generators, standard_normal


class ImagePosterior(nn.Module):
    """q(z|image), a Gaussian over reconstruction vectors, and the noise of p(image|z), one variance for all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Linear(VECTOR_WIDTH, 2 * VECTOR_WIDTH)
        self.pixel_log_var = nn.Parameter(torch.zeros(()))

    def forward(self, vector_BD: Tensor) -> tuple[Tensor, Tensor]:
        mean_BL, raw_BL = self.latent(vector_BD).chunk(2, dim=-1)
        return mean_BL, bounded_log_var(raw_BL)


class PaperModel(nn.Module):
    """VT-ADL with the heads of one objective; images are ``(B, 3, S, S)`` float32 in [0, 1].

    Args:
        config: sizes and variant.
        objective: what is minimised. Reconstruction terms bring the decoder, ``nll`` and ``nll_reference`` the mixture,
            ``vae`` and ``kl`` the autoencoder of patches, ``vae_image`` a sampled vector before the decoder.

    Raises:
        ConfigError: sizes that do not fit together, or nothing that would train the encoder.
    """

    def __init__(self, config: PaperConfig, objective: Objective) -> None:
        super().__init__()
        _check(config, objective)
        self.config = config
        self.objective = objective
        self.plugged = plugged_losses(objective)
        heads = objective.heads
        side = config.image_size // config.patch_size
        patches, width = side**2, config.width
        self.encoder = PaperEncoder(config)
        self.vector = self.decoder = self.posterior = self.mixture = self.variational = self.neighbours = None
        if heads & {"reconstruction", "image-variational"}:
            self.vector = ReconstructionVector(patches, config.width)
            self.decoder = build_decoder(config)
        if "image-variational" in heads:
            self.posterior = ImagePosterior()
        if config.mask_radius is not None:
            self.neighbours = NeighbourContext(width, config.heads, side, config.mask_radius)
        known = 0 if self.neighbours is None else width
        if "mixture" in heads:
            self.mixture = (
                ContextMixture(known, width, config.mixtures)
                if known
                else MixtureDensity(width, config.mixtures, faithful=config.variant == "faithful")
            )
        if "variational" in heads:
            decodes = any(name == "vae" for name, _ in objective.terms)
            self.variational = PatchVae(width, config.latent_width, context_width=known, decodes=decodes)

    def terms(
        self, images_B3HW: Tensor, *, seed: int, step: int, samples: Sequence[int]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Every term of the objective, raw (not weighted), and the variance of the embeddings.

        All noise depends on ``(seed, step, sample)`` alone, so an image gets the same noise in any batch, on any device
        and in any of several processes. Terms are means over images: the terms of two halves of a batch have the
        terms of the batch as their mean, up to batch normalisation.

        Args:
            images_B3HW: ``(B, 3, S, S)``.
            seed: of the training.
            step: counted over the whole training.
            samples: B numbers that tell the training images apart.

        Returns:
            A scalar for each name of the objective, in its order, and the variance of the encoded patches over images
            and patches, averaged over dimensions and without gradient: near zero, all patches look alike.
        """
        return self.terms_under(images_B3HW, self.draw(seed, step, samples))

    def draw(self, seed: int, step: int, samples: Sequence[int]) -> list[Tensor]:
        """The noise of a step, on the CPU: standard normal ``(B, ...)`` tensors in the order in which they are used."""
        noise, patches = generators(seed, step, samples), (self.config.image_size // self.config.patch_size) ** 2
        shapes: list[tuple[int, ...]] = []
        if self.config.noise > 0:
            shapes.append((patches, self.config.width))
        if self.variational is not None:
            shapes.append((patches, self.config.latent_width))
        if self.posterior is not None:
            shapes.append((VECTOR_WIDTH,))
        return [standard_normal(noise, shape, torch.empty(0)) for shape in shapes]

    def terms_under(self, images_B3HW: Tensor, noise: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """`terms` with the noise of `draw`, on any device: a function of tensors alone, which a graph can hold."""
        drawn = iter(noise)
        encoded_BND = self.encoder(images_B3HW)
        variance = encoded_BND.detach().float().flatten(0, 1).var(0, correction=0).mean()
        clean_BND = encoded_BND
        if self.config.noise > 0:
            encoded_BND = clean_BND + self.config.noise * next(drawn).to(encoded_BND)
        judged_BND, context_BNC = self._judged(images_B3HW, encoded_BND)
        terms = {
            name: value_BN.sum(1).mean() if name == "nll_reference" else value_BN.mean()
            for name, value_BN in self._densities(judged_BND, context_BNC, drawn).items()
        }
        terms |= self._image_terms(encoded_BND, images_B3HW, drawn)
        terms |= self._spread_terms(clean_BND)
        return {name: terms[name] for name, _ in self.objective.terms}, variance

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        """How abnormal each pixel is, before smoothing: ``(B, S, S)``, higher is more abnormal.

        The objective fixes what it is: its density terms' value of each patch (their weighted sum where there are
        several), upsampled bilinearly, and then no decoder runs; without a density, the residual of each pixel.
        """
        if self.objective.densities:
            return self._upsampled(self.patch_scores(images_B3HW))
        return self.maps(images_B3HW)[-1]

    @torch.inference_mode()
    def maps(self, images_B3HW: Tensor) -> list[Tensor]:
        """Everything that could be the anomaly map, ``(B, S, S)`` each, of one pass through the encoder: what densities
        say, if there are any, and the reconstruction's residual, if there is one.
        """
        found = []
        with evaluating(self):
            encoded_BND = self.encoder(images_B3HW)
            if self.objective.densities:
                found.append(self._upsampled(self._scores(images_B3HW, encoded_BND)))
            if self.decoder is not None:
                found.append(RESIDUALS[self.config.residual](self._decoded(encoded_BND), images_B3HW))
        return found

    @torch.inference_mode()
    def patch_scores(self, images_B3HW: Tensor) -> Tensor:
        """The density terms' value of each patch, ``(B, N)``; the objective has such a term."""
        with evaluating(self):
            return self._scores(images_B3HW, self.encoder(images_B3HW))

    @torch.inference_mode()
    def reconstruct(self, images_B3HW: Tensor) -> Tensor:
        """The decoded images, ``(B, 3, S, S)``, without noise.

        Raises:
            ConfigError: the objective has no term that reconstructs.
        """
        with evaluating(self):
            return self._decoded(self.encoder(images_B3HW))

    @torch.inference_mode()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Generate images, ``(count, 3, S, S)``, from z drawn from the prior with a generator of the CPU.

        Raises:
            ConfigError: the objective has no ``vae_image``, so z has no prior.
        """
        if self.posterior is None:
            raise ConfigError(f"only a model trained with vae_image generates images; this one has '{self.objective}'")
        z_BL = torch.randn(count, VECTOR_WIDTH, generator=generator).to(self.posterior.pixel_log_var.device)
        with evaluating(self):
            images_B3HW: Tensor = self._head(self.decoder)(z_BL)
        return images_B3HW

    def compile_parts(self) -> None:
        """Let torch.compile work on the parts that are worth it."""
        for part in (self.encoder, self.decoder):
            if part is not None:
                part.compile(dynamic=False)  # one kernel for all full batches, resumed or not

    def _judged(self, images_B3HW: Tensor, encoded_BND: Tensor) -> tuple[Tensor, Tensor | None]:
        """The embeddings that the densities are of, and what is known of each beforehand, if that is not itself."""
        if self.neighbours is None:
            return encoded_BND.detach() if self.config.detached_density else encoded_BND, None
        patches_BND = self.encoder.patches(images_B3HW)
        judged: tuple[Tensor, Tensor] = self.neighbours(
            patches_BND.detach() if self.config.detached_density else patches_BND
        )
        return judged

    def _scores(self, images_B3HW: Tensor, encoded_BND: Tensor) -> Tensor:
        values = self._densities(*self._judged(images_B3HW, encoded_BND), noise=None)
        densities = self.objective.densities
        if len(densities) == 1:
            return values[densities[0][0]]
        return torch.stack([weight * values[name] for name, weight in densities]).sum(0)

    def _upsampled(self, scores_BN: Tensor) -> Tensor:
        side, size = self.config.image_size // self.config.patch_size, (self.config.image_size,) * 2
        scores_B1HW = scores_BN.reshape(-1, 1, side, side)
        return F.interpolate(scores_B1HW, size, mode="bilinear", align_corners=False)[:, 0]

    def _decoded(self, encoded_BND: Tensor) -> Tensor:
        vector_BD: Tensor = self._head(self.vector)(encoded_BND)
        if self.posterior is not None:
            vector_BD, _ = self.posterior(vector_BD)
        decoded_B3HW: Tensor = self._head(self.decoder)(vector_BD)
        return decoded_B3HW

    def _densities(
        self, judged_BND: Tensor, context_BNC: Tensor | None, noise: Iterator[Tensor] | None
    ) -> dict[str, Tensor]:
        """The density terms of each patch, ``(B, N)``; z is sampled where there is noise, else at its mean."""
        values: dict[str, Tensor] = {}
        if isinstance(self.mixture, ContextMixture):
            values["nll"] = self.mixture(judged_BND, context_BNC)
        elif self.mixture is not None:
            mixture: MixtureScores = self.mixture(judged_BND)
            values |= {"nll": mixture.nll, "nll_reference": mixture.nll_reference}
        if self.variational is not None:
            noise_BNL = None if noise is None else next(noise).to(judged_BND)
            bound: PatchBound = self.variational(judged_BND, noise_BNL, context_BNC)
            values |= {"kl": bound.kl} if bound.vae is None else {"kl": bound.kl, "vae": bound.vae}
        return values

    def _image_terms(self, encoded_BND: Tensor, images_B3HW: Tensor, noise: Iterator[Tensor]) -> dict[str, Tensor]:
        if self.vector is None or self.decoder is None:
            return {}
        vector_BD: Tensor = self.vector(encoded_BND)
        latent: tuple[Tensor, Tensor] | None = None
        if self.posterior is not None:
            mean_BL, log_var_BL = self.posterior(vector_BD)
            latent = mean_BL, log_var_BL
            vector_BD = reparameterised(mean_BL, log_var_BL, next(noise).to(vector_BD))
        decoded_B3HW = self.decoder(vector_BD)
        # Half precision would spoil differences of squares, such as SSIM's variances.
        with torch.autocast(images_B3HW.device.type, enabled=False):
            decoded_B3HW = decoded_B3HW.to(images_B3HW.dtype)
            terms = self._reconstruction_terms(decoded_B3HW, images_B3HW)
            if self.posterior is not None and latent is not None:
                pixel_log_var = bounded_log_var(self.posterior.pixel_log_var)
                terms["vae_image"] = vae_image(images_B3HW, decoded_B3HW, pixel_log_var, *latent).mean()
        return terms

    def _spread_terms(self, encoded_BND: Tensor) -> dict[str, Tensor]:
        losses: dict[str, Callable[[Tensor], Tensor]] = {"var": var, "cov": cov}
        # Half precision would spoil products of small differences.
        with torch.autocast(encoded_BND.device.type, enabled=False):
            embeddings_MD = encoded_BND.float().flatten(0, 1)
            return {name: losses[name](embeddings_MD) for name, _ in self.objective.terms if name in losses}

    def _reconstruction_terms(self, decoded_B3HW: Tensor, images_B3HW: Tensor) -> dict[str, Tensor]:
        losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "mse": reconstruction.mse,
            "l1": reconstruction.l1,
            "ssim": ssim.ssim,
            "ms_ssim": ssim.ms_ssim,
            "gms": reconstruction.gms,
            "cosine": lambda a, b: reconstruction.cosine(a, b, self.config.patch_size),
            **self.plugged,
        }
        return {name: losses[name](decoded_B3HW, images_B3HW) for name, _ in self.objective.terms if name in losses}

    def _head(self, head: nn.Module | None) -> nn.Module:
        if head is None:
            raise ConfigError(f"a model with the objective '{self.objective}' has no decoder; add mse to it, for one")
        return head


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, then the earlier mode."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _check(config: PaperConfig, objective: Objective) -> None:
    if config.image_size % config.patch_size:
        raise ConfigError(
            f"model.image_size is {config.image_size}; expected a multiple of model.patch_size, {config.patch_size}"
        )
    if config.width % config.heads:
        raise ConfigError(f"model.width is {config.width}; expected a multiple of model.heads, {config.heads}")
    if config.image_size < SEED_SIDE:
        raise ConfigError(f"model.image_size is {config.image_size}; expected {SEED_SIDE} or more")
    if config.detached_density and not objective.heads & {"reconstruction", "image-variational"}:
        raise ConfigError(
            f"model.detached_density leaves the encoder to other terms, and '{objective}' has none; add mse to it"
        )
    if config.mask_radius is not None:
        _check_neighbours(config, objective)
    if config.pretrained_patches and config.patch_size % 4:
        raise ConfigError(
            f"model.patch_size is {config.patch_size}; expected a multiple of 4, the stride of the pretrained patches"
        )


def _check_neighbours(config: PaperConfig, objective: Objective) -> None:
    side, radius = config.image_size // config.patch_size, config.mask_radius or 0
    if any(name == "nll_reference" for name, _ in objective.terms):
        raise ConfigError("nll_reference is of a patch given itself; leave out model.mask_radius, or take nll")
    if not objective.heads & {"reconstruction", "image-variational"}:
        raise ConfigError(
            f"with model.mask_radius densities are of the patches as they come in, and '{objective}' has nothing else "
            "that would train the encoder; add mse to it"
        )
    if not objective.heads & {"mixture", "variational"}:
        raise ConfigError(f"model.mask_radius is of densities, and '{objective}' has none; add nll to it, or vae")
    if side <= 2 * radius + 1:
        raise ConfigError(
            f"model.mask_radius is {radius}, on {side} x {side} patches; expected more patches along a side than the "
            "neighbourhood has: lower model.mask_radius or model.patch_size"
        )
