"""The weights of a run: what a detector stores of itself, and reading it back without trusting it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn

from vtadl.backbones.build import build_backbone
from vtadl.backbones.names import OURS
from vtadl.config.schema import BackboneConfig, Config, FusionConfig
from vtadl.errors import BundleError
from vtadl.models.build import build_model, empty_model
from vtadl.runs.record import check_regular, damaged, unreadable

FROZEN = ("backbone.", "second_backbone.")
"""How the tensors of frozen backbones begin."""
CHECKSUM = "checksum.sha256"
"""What is stored of a backbone whose weights are the user's own (`vtadl.backbones.weights`)."""


def weights_of(model: nn.Module) -> bytes:
    """The tensors that a run stores, as a safetensors file."""
    return tensor_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in own_state(model).items()})


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that a run stores: all but those of a frozen backbone, which is found by name or path instead."""
    state = model.state_dict()
    frozen = all(not p.requires_grad for name, p in model.named_parameters() if name.startswith(FROZEN))
    left_out = {name for name in state if frozen and name.startswith(FROZEN) and not name.endswith(CHECKSUM)}
    return {name: tensor for name, tensor in state.items() if name not in left_out}


def backbone_checksum(config: Config) -> str:
    """Digests of backbones' weights that are the user's own, in hexadecimal; empty where they are not.

    Raises:
        BundleError: they cannot be read.
        ConfigError: settings that do not fit together.
    """
    used: list[BackboneConfig] = [config.model] if isinstance(config.model, BackboneConfig) else []
    if isinstance(config.model, FusionConfig) and config.model.second_backbone is not None:
        used.append(config.model.second)
    own = [build_backbone(one) for one in used if one.backbone != OURS]
    return "".join(bytes(backbone.state_dict()[CHECKSUM].tolist()).hex() for backbone in own)


def load_weights(path: Path, config: Config, sha256: str) -> nn.Module:
    """The detector of these settings with the weights in a file of this checksum.

    Names and shapes are compared with what the settings ask for before memory is spent on either.

    Raises:
        BundleError: they differ, or are not finite; it is no such file, or another one.
        ConfigError: settings that do not fit together.
    """
    _check_names(path, config)
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise damaged(path, "its checksum differs")
        state: Mapping[str, Tensor] = load_tensors(content)
    except SafetensorError as error:
        raise damaged(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise damaged(path, f"tensor {name} holds NaN or infinity")
    model = build_model(config)
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise BundleError(f"'{path}' does not fit its config.toml: {reason}") from error
    return model.eval()


def _check_names(path: Path, config: Config) -> None:
    check_regular(path)
    expected = {name: tuple(tensor.shape) for name, tensor in own_state(empty_model(config)).items()}
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    differing = sorted(name for name in found.keys() | expected.keys() if not _fits(found, expected, name, config))
    if differing:
        raise BundleError(f"'{path}' does not fit its config.toml: tensors {', '.join(differing[:3])}; train again")


def _fits(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], name: str, config: Config
) -> bool:
    if name not in found or name not in expected:
        return False
    shape, wanted = found[name], expected[name]
    # A memory of few images holds few patches, and a density of others as many rows as it learned.
    if wanted[:1] == (0,):
        most = getattr(config.model, "size", 0) if getattr(config.model, "density", None) is None else 1_000_000
        return shape[1:] == wanted[1:] and 0 < shape[0] <= most
    return shape == wanted
