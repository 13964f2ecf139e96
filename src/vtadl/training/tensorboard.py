"""A training in TensorBoard: every number of the log, and now and then reconstructions and heat maps of good images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vtadl.data.loading import load_images
from vtadl.data.roi import blanked, fitted_mask
from vtadl.decision.heatmap import colour_scale, overlay
from vtadl.errors import TrainingError, optional
from vtadl.models.protocol import Pictured

PICTURED = 4
"""Images shown."""
TIMES = 20
"""How often they are shown, evenly over the training, and at its end."""


def check_installed() -> None:
    """Find out before any long work.

    Raises:
        DependencyError: TensorBoard is missing.
    """
    with optional("--tensorboard", "tensorboard"):
        import torch.utils.tensorboard  # noqa: F401


class Board:
    """Writes one training's scalars, and pictures of the first few of some good images, to a folder for TensorBoard."""

    def __init__(
        self,
        folder: Path,
        paths: Sequence[Path],
        steps: int,
        roi_mask: NDArray[np.bool_] | None = None,
        value_range: tuple[int, int] | None = None,
    ) -> None:
        check_installed()
        self.folder = folder
        self.every = -(-steps // TIMES)
        self.steps = steps
        self.paths = paths[:PICTURED]
        self.roi_mask = roi_mask
        self.value_range = value_range
        self.images_B3HW: Tensor | None = None
        self.writer: Any = None

    def show(self, line: Mapping[str, Any], detector: Pictured | None = None) -> None:
        """Take a line of the log; pictures show what the detector, where one is given, makes of the images now.

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
                for name, pictures_BHW3 in ({} if detector is None else self._pictures(detector)).items():
                    self.writer.add_images(name, pictures_BHW3, step, dataformats="NHWC")
                self.writer.flush()
        except OSError as error:
            raise TrainingError(f"cannot write '{self.folder}': {error.strerror}; make room, then --resume") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def _pictures(self, detector: Pictured) -> dict[str, NDArray[np.uint8]]:
        assert isinstance(detector, nn.Module)
        size = detector.input_size
        if self.images_B3HW is None:
            (batch,) = load_images(self.paths, size, batch_size=PICTURED, value_range=self.value_range)
            self.images_B3HW = batch.images
        roi_mask = None if self.roi_mask is None else fitted_mask(self.roi_mask, size)
        images_B3HW = blanked(self.images_B3HW, roi_mask).to(next(detector.parameters()).device)
        was_training = detector.training
        detector.eval()
        maps_BHW = detector.anomaly_map(images_B3HW).float().cpu().numpy()
        reconstructed_B3HW = detector.reconstruct(images_B3HW)
        detector.train(was_training)
        photos_BHW3 = _pixels(self.images_B3HW)
        counted_BP = maps_BHW.reshape(len(maps_BHW), -1) if roi_mask is None else maps_BHW[:, roi_mask]
        low, high = colour_scale(np.median(counted_BP, axis=1).tolist(), counted_BP.max(axis=1).tolist())
        overlays = [overlay(photo, one, low, high, roi_mask) for photo, one in zip(photos_BHW3, maps_BHW, strict=True)]
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
