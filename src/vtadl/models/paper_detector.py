"""Preset ``paper``: VT-ADL, trained from nothing on the images themselves, as a detector."""

import torch
from torch import Tensor, nn

from vtadl.data.training_images import TrainingImages
from vtadl.errors import ConfigError
from vtadl.models.paper import PaperModel
from vtadl.models.protocol import Fitted, Session
from vtadl.nn.smoothing import gaussian_smooth


class PaperDetector(nn.Module):
    """A network whose anomaly map is smoothed.

    Args:
        network: with the objective that it is trained by.
    """

    def __init__(self, network: PaperModel) -> None:
        super().__init__()
        self.network = network
        self.input_size = (network.config.image_size,) * 2

    def fit(self, images: TrainingImages, session: Session) -> Fitted:
        """Take the objective's steps; the first weights are those that the network has."""
        examples = session.repeated(images, self.input_size)
        done = session.optimise(self.network, examples, shown=self)
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

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        return gaussian_smooth(self.network.anomaly_map(images_B3HW), self.network.config.smoothing)

    def reconstruct(self, images_B3HW: Tensor) -> Tensor | None:
        """The decoded images, ``(B, 3, S, S)``; ``None``: the objective has no term that reconstructs."""
        try:
            return self.network.reconstruct(images_B3HW)
        except ConfigError:
            return None
