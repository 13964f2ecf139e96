"""What a detector keeps of its training images so that it can learn more of them later: ``RUN/learned.safetensors``.

A file of its own, which prediction does not read; without it, a detector predicts as before and cannot be taught.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from vtadl.runs.record import damaged, unreadable


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Tensors that `vtadl.models.protocol.Teachable` gave, in memory or still in a run folder."""

    held: Mapping[str, Tensor] | None = None
    path: Path | None = None
    """Where they are; read when they are asked for."""
    sha256: str = ""
    """Of that file."""

    @classmethod
    def stored(cls, path: Path, sha256: object) -> Self | None:
        """Those of a run folder; ``None`` where it has none."""
        return cls(path=path.absolute(), sha256=sha256) if isinstance(sha256, str) and path.is_file() else None

    def content(self) -> bytes:
        """As a safetensors file.

        Raises:
            BundleError: it is gone or changed meanwhile.
        """
        if self.held is not None:
            return tensor_bytes({name: tensor.contiguous() for name, tensor in self.held.items()})
        assert self.path is not None
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise unreadable(self.path, error) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise damaged(self.path, "its checksum differs")
        return content

    def tensors(self) -> Mapping[str, Tensor]:
        """By name.

        Raises:
            BundleError: the file is gone, changed or damaged.
        """
        if self.held is not None:
            return self.held
        assert self.path is not None
        try:
            return load_tensors(self.content())
        except SafetensorError as error:
            raise damaged(self.path, error) from error
