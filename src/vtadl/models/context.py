"""Preset ``context``: a transformer's density of each patch given the patches around its neighbourhood."""

import torch
from torch import Tensor, nn

from vtadl.backbones.build import Backbone
from vtadl.backbones.input_size import grid_shape, input_size
from vtadl.config.schema import ContextConfig
from vtadl.data.cached_embeddings import CachedEmbeddings
from vtadl.data.training_images import TrainingImages
from vtadl.density.gaussian import GaussianMoments
from vtadl.errors import ConfigError
from vtadl.losses.objective import Objective
from vtadl.models.context_network import ContextNetwork
from vtadl.models.detector import check_covariances
from vtadl.models.protocol import Fitted, Session
from vtadl.nn.resize import Resize

RESIDUAL_BATCH = 8


class ContextDetector(nn.Module):
    """A trained density over the embeddings of a frozen backbone, trained by the objective.

    Raises:
        ConfigError: settings that do not fit together.
    """

    def __init__(self, config: ContextConfig, objective: Objective, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.input_size = input_size(config, backbone.multiple, backbone.stride)
        rows, columns = grid_shape(config, backbone.multiple, backbone.stride)
        if rows % config.pooling or columns % config.pooling:
            raise ConfigError(f"model.pooling is {config.pooling}; expected a divisor of the grid's side, {rows}")
        self.grid = (rows // config.pooling, columns // config.pooling)
        check_covariances(self.grid, backbone.width)
        self.network = ContextNetwork(config, objective, backbone.width, self.grid)
        self.upsampling = Resize(self.grid, self.input_size, config.smoothing)

    @torch.inference_mode()
    def embed(self, images_B3HW: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` in [0, 1] to what the transformer sees, ``(B, D, *grid)``."""
        return self.backbone(images_B3HW, self.config.pooling)

    def fit(self, images: TrainingImages, session: Session) -> Fitted:
        """Embed once, whiten, take the objective's steps, and measure what the trained network leaves unexplained.

        All but the steps is the same each time, so a training that resumes after a kill does it again.
        """
        embedded = CachedEmbeddings(
            (self.embed(batch_B3HW) for batch_B3HW in session.batches(images, self.input_size, "embedding")),
            len(images),
        )
        in_order = [
            range(len(images))[first : first + RESIDUAL_BATCH] for first in range(0, len(images), RESIDUAL_BATCH)
        ]
        moments = GaussianMoments()
        for embeddings_BDHW in embedded.batches(in_order):
            moments.update(embeddings_BDHW.to(session.device))
        covariance_DD = moments.scatter_PDD.mean(0) / max(moments.count - 1, 1)
        self.network.fit(moments.mean_PD, covariance_DD)
        done = session.optimise(self.network, embedded)
        self.network.eval()
        self.network.fit_residual(batch_BDHW.to(session.device) for batch_BDHW in embedded.batches(in_order))
        record = {"steps": done.steps, "weights": "those of the last step"}
        return Fitted(record=record, times={"of_that_steps": done.seconds})

    @torch.inference_mode()
    def anomaly_map(self, images_B3HW: Tensor) -> Tensor:
        maps_BHW: Tensor = self.upsampling(self.network.score_patches(self.embed(images_B3HW)))
        return maps_BHW
