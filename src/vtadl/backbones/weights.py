"""Weights that the user brings: where they are looked for, and the checksum that ties a run to them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vtadl.backbones.catalogue import FOLDER_VARIABLE, backbones_folder, how_to_add
from vtadl.errors import BundleError


def find_weights(given: str, where: str) -> Path:
    """The file or folder of this path, or of this name in the folder that ``vtadl backbones add`` adds to; errors say
    where to get such weights.

    Raises:
        BundleError: there is nothing.
    """
    path = Path(given).expanduser()
    for place in (path, backbones_folder() / path.name):
        if given and place.exists():
            return place
    pointing = (
        f"{where}; then point at them: model.backbone with their path, "
        f"or {FOLDER_VARIABLE} with the folder that '{path.name}' is in"
    )
    raise BundleError(f"no backbone weights at '{given}'; {how_to_add(path.name) or pointing}")


def stamp(path: Path) -> tuple[int, int]:
    """Time of the last change in nanoseconds, and bytes: with its path, what tells one content of a file from others.

    Raises:
        BundleError: it cannot be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise BundleError(f"cannot read '{path}': {error.strerror}; get it again") from error
    return found.st_mtime_ns, found.st_size


class Checksum(nn.Module):
    """Of a backbone's weights: stored with what was fitted on them, compared when that is loaded over them again."""

    def __init__(self, sha256: bytes, path: Path) -> None:
        super().__init__()
        self.path = path
        self.sha256: Tensor
        self.register_buffer("sha256", torch.tensor(list(sha256), dtype=torch.uint8))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(f"{prefix}sha256")
        if stored is not None and not torch.equal(stored, self.sha256.cpu()):
            raise BundleError(
                f"'{self.path}' has other weights (sha256 {_short(self.sha256)}) than the backbone that this detector "
                f"was trained over ({_short(stored)}); point model.backbone in its config.toml at those, or train again"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _short(sha256: Tensor) -> str:
    return bytes(sha256.flatten()[:6].tolist()).hex() + "..."
