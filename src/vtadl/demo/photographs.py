"""The demo set: photographs of one product, good ones and defective ones with masks, that lie in the package.

Source: ``ATTRIBUTION.md`` beside this file.
"""

import shutil
from pathlib import Path

from vtadl.errors import DataError

CATEGORY = "macaroni"
PHOTOGRAPHS = Path(__file__).parent / CATEGORY
"""In MVTec layout."""
ATTRIBUTION = (
    "Photographs: VisA, macaroni1 (Y. Zou, J. Jeong, L. Pemula, D. Zhang and O. Dabeer, SPot-the-Difference "
    "Self-Supervised Pre-training for Anomaly Detection and Segmentation, ECCV 2022), licensed under CC BY 4.0; "
    "60 of its images, reduced to 512 x 342 pixels."
)


def copy_demo(root: Path) -> Path:
    """Write the demo set's category under ``root``, in MVTec layout.

    Returns:
        The category's folder.

    Raises:
        DataError: it is there already, or cannot be written.
    """
    category = Path(root) / CATEGORY
    try:
        # Contents alone: an installed package's files may be read-only, and the copies are the user's.
        shutil.copytree(PHOTOGRAPHS, category, copy_function=shutil.copyfile)
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot write '{category}': {reason}; name a new folder with room for it") from error
    return category


def sample_photographs() -> list[Path]:
    """A good and a defective photograph."""
    return [sorted((PHOTOGRAPHS / "test" / label).iterdir())[0] for label in ("good", "bad")]
