"""A training in TensorBoard: every number of the log, and now and then reconstructions and heat maps of good images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.data.loading import load_images
from vtadl.data.roi import blanked, fitted_mask
from vtadl.decision.heatmap import colour_scale, overlay
from vtadl.errors import ConfigError, DependencyError, TrainingError
from vtadl.models.detector import TrainedDetector

PICTURED = 4
"""Images shown."""
TIMES = 20
"""How often they are shown, evenly over the training, and at its end."""


def check_installed() -> None:
    """Find out before any long work.

    Raises:
        DependencyError: TensorBoard is missing.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401  # optional
    except ImportError as error:
        raise DependencyError(
            "--tensorboard needs the package tensorboard; pip install 'vtadl[tensorboard]'"
        ) from error


class Board:
    """Writes one training's scalars and pictures.

    Args:
        folder: that ``tensorboard --logdir`` is given.
        paths: good images of which the first few are shown; none for a network that sees embeddings, not images.
        side: that the model takes.
        steps: of the whole training.
        roi_mask: region of interest; the rest of an image has no colour.
    """

    def __init__(
        self, folder: Path, paths: Sequence[Path], side: int, steps: int, roi_mask: NDArray[np.bool_] | None = None
    ) -> None:
        check_installed()
        self.folder = folder
        self.every = -(-steps // TIMES)
        self.steps = steps
        self.roi_mask = None if roi_mask is None else fitted_mask(roi_mask, (side, side))
        self.images_B3HW: Tensor | None = None
        for batch in load_images(paths[:PICTURED], (side, side), batch_size=PICTURED):
            self.images_B3HW = batch.images
        self.writer: Any = None

    def show(self, model: TrainedDetector, line: Mapping[str, Any]) -> None:
        """Take a line of the log.

        Raises:
            TrainingError: it cannot be written.
        """
        from torch.utils.tensorboard import SummaryWriter  # optional

        step = line["step"]
        try:
            if self.writer is None:
                # A training that resumes takes back what was shown after its checkpoint.
                self.writer = SummaryWriter(str(self.folder), purge_step=step)
            for name, value in _scalars(line).items():
                self.writer.add_scalar(name, value, step)
            if step % self.every == 0 or step == self.steps:
                for name, pictures_BHW3 in self._pictures(model).items():
                    self.writer.add_images(name, pictures_BHW3, step, dataformats="NHWC")
                self.writer.flush()
        except OSError as error:
            raise TrainingError(f"cannot write '{self.folder}': {error.strerror}; make room, then --resume") from error

    def close(self) -> None:
        """Write what is still to be written."""
        if self.writer is not None:
            self.writer.close()

    def _pictures(self, model: TrainedDetector) -> dict[str, NDArray[np.uint8]]:
        if self.images_B3HW is None:
            return {}
        device = next(model.parameters()).device
        images_B3HW = blanked(self.images_B3HW, self.roi_mask).to(device)
        was_training = model.training
        model.eval()
        maps_BHW = model.anomaly_map(images_B3HW).float().cpu().numpy()
        try:
            reconstructed_B3HW: Tensor | None = model.network.reconstruct(images_B3HW)
        except ConfigError:  # the objective has no term that reconstructs
            reconstructed_B3HW = None
        model.train(was_training)
        photos_BHW3 = _pixels(self.images_B3HW)
        counted_BP = maps_BHW.reshape(len(maps_BHW), -1) if self.roi_mask is None else maps_BHW[:, self.roi_mask]
        low, high = colour_scale(np.median(counted_BP, axis=1).tolist(), counted_BP.max(axis=1).tolist())
        overlays = [
            overlay(photo, one, low, high, self.roi_mask) for photo, one in zip(photos_BHW3, maps_BHW, strict=True)
        ]
        pictures = {"image": photos_BHW3, "heat map": np.stack(overlays)}
        if reconstructed_B3HW is not None:
            pictures["reconstruction"] = _pixels(reconstructed_B3HW)
        return pictures


def _scalars(line: Mapping[str, Any]) -> dict[str, float]:
    scalars = {name: line[name] for name in ("total", "learning_rate", "gradient_norm", "embedding_variance")}
    for term, values in line["terms"].items():
        scalars |= {f"raw/{term}": values["raw"], f"weighted/{term}": values["weighted"]}
    return scalars


def _pixels(images_B3HW: Tensor) -> NDArray[np.uint8]:
    pixels = (images_B3HW.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
