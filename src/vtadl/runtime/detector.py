"""An exported detector, ready to score images."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.data.images import pixels_of
from vtadl.data.likeness import tell_unlike
from vtadl.data.roi import fitted_mask
from vtadl.data.value_range import in_range
from vtadl.decision.card import Card
from vtadl.decision.decide import Prediction, decide
from vtadl.errors import DataError, DependencyError, VtadlWarning
from vtadl.runtime.backends import OPENERS, Session
from vtadl.runtime.manifest import MODEL_FILES, Manifest, damaged, read_card, read_manifest, read_model, read_region
from vtadl.threads import thread_count


class ExportedDetector:
    """Scores one image at a time. Make one with `load`."""

    def __init__(
        self, manifest: Manifest, card: Card | None, roi_mask: NDArray[np.bool_] | None, session: Session
    ) -> None:
        self.manifest = manifest
        self.card = card
        self.roi_mask = roi_mask
        self._told: set[str] = set()
        self._session = session

    def predict(self, image: Any) -> Prediction:
        """Score one image.

        Args:
            image: a file, pixels, a Pillow image or a file's bytes, as `vtadl.data.images.pixels_of` takes them.

        A picture that is far from the training images is warned of, each kind of thing once.

        Raises:
            DataError: a file that cannot be read, an array of another kind, or one that the model cannot score.
        """
        pixels = in_range(pixels_of(image), self.manifest.value_range)
        name = str(image) if isinstance(image, str | Path) else "the image"

        def warn(line: str) -> None:
            warnings.warn(VtadlWarning(line), stacklevel=4)

        tell_unlike(self.manifest.training_images, name, pixels, self._told, warn)
        try:
            anomaly_map = self._session(as_bytes(pixels))
        except Exception as error:  # whatever a runtime raises: too little memory, above all
            raise DataError(f"the model cannot score '{name}': {' '.join(str(error).split())[:200]}") from error
        if anomaly_map.shape != pixels.shape[:2] or not np.isfinite(anomaly_map).all():
            raise DataError(f"the model gives no anomaly map of finite numbers for '{name}'; run vtadl export again")
        size = (anomaly_map.shape[0], anomaly_map.shape[1])
        return decide(anomaly_map, self.card, None if self.roi_mask is None else fitted_mask(self.roi_mask, size))


def load(folder: str | Path, *, threads: int | None = None) -> ExportedDetector:
    """Read an export folder.

    Args:
        folder: what `vtadl export` wrote.
        threads: how many the model may use; ``None``: as `vtadl.threads.thread_count` says.

    Raises:
        BundleError: no export, a damaged one, or one of a newer version.
        DependencyError: the program that runs such a model is not installed.
        ConfigError: ``VTADL_THREADS`` is no whole number from 1 on.
    """
    folder, threads = Path(folder), thread_count() if threads is None else threads
    manifest = read_manifest(folder)
    card, roi_mask = read_card(folder, manifest), read_region(folder)
    files = read_model(folder, manifest)
    try:
        session = OPENERS[manifest.runtime](files, threads)
    except DependencyError:
        raise
    except Exception as error:  # a runtime fed with a damaged model may raise anything
        raise damaged(folder / MODEL_FILES[manifest.runtime][0], error) from error
    return ExportedDetector(manifest, card, roi_mask, session)


def as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels ``(H, W, 3)`` as a model takes them: ``(H, W, 3)`` uint8, or ``(H, W, 6)``, low byte first."""
    plain = np.ascontiguousarray(pixels, dtype="<u2" if pixels.dtype == np.uint16 else np.uint8)
    return plain.view(np.uint8)
