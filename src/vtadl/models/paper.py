"""Preset ``paper``: VT-ADL, trained from nothing on the images themselves, as a detector."""

import torch
from torch import Tensor, nn

from vtadl.data.training_images import TrainingImages
from vtadl.errors import ConfigError
from vtadl.models.paper_network import PaperModel
from vtadl.models.protocol import Fitted, Session
from vtadl.nn.smoothing import gaussian_smooth

MODERATION = 0.3
"""Added to each pixel's standard deviation, as a share of their mean: few images tell it badly. As in the moderated
statistic of Tusher, Tibshirani and Chu (PNAS 2001)."""
LEAST_DEVIATION = 1e-6


class PaperDetector(nn.Module):
    """A network whose anomaly map is smoothed; or standardised, or the sum of two, as ``model.anomaly_map`` says.

    Raises:
        ConfigError: a sum of maps that the objective does not have.
    """

    def __init__(self, network: PaperModel) -> None:
        super().__init__()
        self.network = network
        side = network.config.image_size
        self.input_size = (side, side)
        self.made_of = network.config.anomaly_map
        self.mean: Tensor
        self.deviation: Tensor
        if self.made_of == "sum" and not (network.objective.densities and network.decoder is not None):
            raise ConfigError(
                f"model.anomaly_map is 'sum', of density and residual, and '{network.objective}' does not have both"
            )
        if self.made_of != "objective":
            maps = 2 if self.made_of == "sum" else 1
            self.register_buffer("mean", torch.zeros(maps, side, side))
            self.register_buffer("deviation", torch.ones(maps, side, side))

    def fit(self, images: TrainingImages, session: Session) -> Fitted:
        """Take the objective's steps; the first weights are those that the network has."""
        examples = session.repeated(images, self.input_size)
        done = session.optimise(self.network, examples, shown=self)
        if self.made_of != "objective":
            self.fit_maps(images, session)
        return Fitted(
            record={
                "steps": done.steps,
                "epochs": done.epochs,
                "weights": "those of the last step",
                "best_epoch": done.best_epoch,
                "best_epoch_loss": done.best_epoch_loss,
            },
            times={"training_seconds": done.seconds, "images_per_second": done.images_per_second},
        )

    def fit_maps(self, images: TrainingImages, session: Session) -> None:
        """Measure each pixel's mean and deviation over good images, which are the training's."""
        count, total, squares = 0, torch.zeros_like(self.mean).double(), torch.zeros_like(self.mean).double()
        for images_B3HW in session.batches(images, self.input_size, "standardising"):
            maps_BMHW = self.maps(images_B3HW).double()
            count += len(maps_BMHW)
            total += maps_BMHW.sum(0)
            squares += maps_BMHW.square().sum(0)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        overall = deviation.mean((1, 2), keepdim=True).clamp_min(LEAST_DEVIATION)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation + MODERATION * overall)

    @torch.inference_mode()
    def maps(self, images_B3HW: Tensor) -> Tensor:
        """The smoothed maps that the score is made of, ``(B, M, S, S)``."""
        maps = self.network.maps(images_B3HW) if self.made_of == "sum" else [self.network.anomaly_map(images_B3HW)]
        return torch.stack([gaussian_smooth(one_BHW, self.network.config.smoothing) for one_BHW in maps], dim=1)

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        maps_BMHW = self.maps(images_B3HW)
        if self.made_of == "objective":
            return maps_BMHW[:, 0]
        return ((maps_BMHW - self.mean) / self.deviation).sum(1)

    def reconstruct(self, images_B3HW: Tensor) -> Tensor | None:
        """The decoded images, ``(B, 3, S, S)``; ``None``: the objective has no term that reconstructs."""
        try:
            return self.network.reconstruct(images_B3HW)
        except ConfigError:
            return None
