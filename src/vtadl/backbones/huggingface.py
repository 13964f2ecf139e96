"""A frozen Vision Transformer from a Hugging Face folder, through ``transformers`` (extra ``hub``), as a backbone.

Nothing there can run code: weights are safetensors, and of ``config.json`` only sizes of known architectures are used.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vtadl.backbones.input_size import Geometry
from vtadl.backbones.timm_vit import SCALINGS, chosen_blocks
from vtadl.backbones.weights import Checksum, find_weights
from vtadl.config.schema import BackboneConfig
from vtadl.errors import BundleError, optional

ARCHITECTURES = {
    "dinov2": "Dinov2",
    "dinov2_with_registers": "Dinov2WithRegisters",
    "dinov3_vit": "DINOv3ViT",
    "vit": "ViT",
}
"""``model_type`` in ``config.json``, and what its classes begin with."""
MOST = {
    "hidden_size": 8192,
    "num_hidden_layers": 128,
    "num_attention_heads": 256,
    "intermediate_size": 65_536,
    "mlp_ratio": 16,
    "image_size": 4096,
    "patch_size": 128,
    "num_register_tokens": 64,
}
"""Sizes, and how large they may be."""
SWITCHES = {
    **dict.fromkeys(("qkv_bias", "query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias"), bool),
    **dict.fromkeys(("use_swiglu_ffn", "use_gated_mlp", "use_mask_token"), bool),
    **dict.fromkeys(("layer_norm_eps", "rope_theta"), float),
    "hidden_act": str,
}
"""Other settings that are used."""
FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
UNUSED = ("pooler.", "embeddings.mask_token")
MAX_CONFIG_BYTES = 1_000_000
WHERE = (
    "get config.json, model.safetensors and preprocessor_config.json where there is a network, such as those of "
    "https://huggingface.co/facebook/dinov2-small, into one folder"
)


class HubBackbone(nn.Module):
    """Some blocks' patch embeddings, each behind the final layer norm, joined.

    Args:
        config: its ``backbone`` is ``hub:`` and a folder, or the name of a model to download where there is a network.

    Raises:
        ConfigError: settings that do not go with these weights.
        BundleError: there is no such folder, or it holds something else.
        DependencyError: ``transformers`` is not installed.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        folder = _folder(config.backbone.partition(":")[2])
        kind, sizes = _sizes(folder / "config.json")
        self.blocks = chosen_blocks(config, sizes["num_hidden_layers"], by_itself=kind != "vit")
        self.width = sizes["hidden_size"] * len(self.blocks)
        self.stride = self.multiple = sizes["patch_size"]
        self.options = {"interpolate_pos_encoding": True} if kind == "vit" else {}
        self.network = _network(folder, kind, sizes)
        mean, deviation = _scaling(folder / "preprocessor_config.json")
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))
        self.checksum = Checksum(_sha256(folder), folder)

    def forward(self, images_B3HW: Tensor, pooling: int = 1) -> Tensor:
        height, width = (side // self.stride for side in images_B3HW.shape[-2:])
        scaled_B3HW = (images_B3HW - self.mean) / self.deviation
        outputs = self.network(pixel_values=scaled_B3HW, output_hidden_states=True, **self.options).hidden_states
        norm = self.network.norm if hasattr(self.network, "norm") else self.network.layernorm
        # Class token and registers come first.
        patches = [norm(outputs[block][:, -height * width :]).transpose(1, 2) for block in self.blocks]
        embeddings_BDHW = torch.cat(patches, dim=1).reshape(len(images_B3HW), self.width, height, width)
        return F.avg_pool2d(embeddings_BDHW, pooling)


def hub_geometry(config: BackboneConfig) -> Geometry:
    """Of a `HubBackbone`, from ``config.json`` alone; raises as that does."""
    kind, sizes = _sizes(_folder(config.backbone.partition(":")[2]) / "config.json")
    blocks = chosen_blocks(config, sizes["num_hidden_layers"], by_itself=kind != "vit")
    patch = sizes["patch_size"]
    return Geometry(width=sizes["hidden_size"] * len(blocks), stride=patch, multiple=patch)


def _folder(given: str) -> Path:
    try:
        return find_weights(given, WHERE)
    except BundleError:
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", given):
            raise
    snapshot_download = _import("huggingface_hub").snapshot_download
    try:
        return Path(snapshot_download(given, allow_patterns=list(FILES)))
    except Exception as error:  # of several libraries and systems; none is more than: it cannot be had
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"'{given}' is no folder here and could not be downloaded ({type(error).__name__}: {reason}); where there "
            f"is a network: hf download {given} --local-dir FOLDER; then point model.backbone at hub:FOLDER"
        ) from error


def _import(name: str) -> Any:
    with optional("a backbone of hub:", "hub"):
        return __import__(name)


def _sizes(path: Path) -> tuple[str, dict[str, Any]]:
    """Kind of network, and those settings that decide its shape."""
    values = _read_json(path)
    kind = values.get("model_type")
    if not (isinstance(kind, str) and kind in ARCHITECTURES):
        raise BundleError(f"'{path}' is of model_type {_shown(kind)}; expected one of: {', '.join(ARCHITECTURES)}")
    for name, most in MOST.items():
        if name in values and not (type(values[name]) is int and 0 <= values[name] <= most):
            raise BundleError(f"'{path}' has {name} {_shown(values[name])}; expected a whole number up to {most:,}")
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size"):
        if not values.get(name):
            raise BundleError(f"'{path}' has no {name}; get it again")
    for name, expected in SWITCHES.items():
        if name in values and not isinstance(values[name], (int, float) if expected is float else expected):
            raise BundleError(f"'{path}' has {name} {_shown(values[name])}; expected {expected.__name__}")
    known = {name: values[name] for name in (*MOST, *SWITCHES) if name in values}
    return kind, {name: float(value) if SWITCHES.get(name) is float else value for name, value in known.items()}


def _network(folder: Path, kind: str, sizes: dict[str, Any]) -> Any:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise BundleError(f"'{folder}' has no model.safetensors; pickled weights (.bin) can run code: never opened")
    transformers = _import("transformers")
    model = getattr(transformers, f"{ARCHITECTURES[kind]}Model")
    options = {"add_pooling_layer": False} if kind == "vit" else {}
    try:
        settings = getattr(transformers, f"{ARCHITECTURES[kind]}Config")(**sizes, attn_implementation="sdpa")
        with torch.device("meta"):  # takes no memory
            claimed = sum(parameter.numel() for parameter in model(settings, **options).parameters())
        with safe_open(path, framework="pt") as file:
            held = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  # no mapping
        if claimed > held + sizes["hidden_size"]:  # a mask token may be left out
            raise BundleError(f"'{path}' holds {held:,} weights, and its config.json claims {claimed:,}; get it again")
        with _quiet(transformers):
            network, report = model.from_pretrained(
                folder,
                config=settings,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"'{folder}' cannot be read: {' '.join(str(error).split())[:300]}; get it again") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(UNUSED))
    if missing:
        raise BundleError(f"'{path}' lacks {len(missing)} tensors, such as {missing[0]}; get it again")
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise BundleError(f"'{path}' is damaged: it holds NaN or infinity; get it again")
    return network


def _scaling(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not path.exists():
        return SCALINGS["imagenet"]
    values = _read_json(path)
    if values.get("do_normalize") is False:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, deviation = (values.get(f"image_{name}", SCALINGS["imagenet"][i]) for i, name in enumerate(("mean", "std")))
    if not (_are_colours(mean, low=-10) and _are_colours(deviation, low=1e-3)):
        raise BundleError(
            f"'{path}' has image_mean {_shown(mean)} and image_std {_shown(deviation)}; expected three numbers each"
        )
    return tuple(map(float, mean)), tuple(map(float, deviation))


def _are_colours(values: Any, low: float) -> bool:
    known = isinstance(values, list | tuple) and len(values) == 3 and all(type(v) in (int, float) for v in values)
    return known and all(low <= value <= 10 for value in values)


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _sha256(folder: Path) -> bytes:
    """Of all files that are used."""
    total = hashlib.sha256()
    for name in FILES:
        if (folder / name).exists():
            with (folder / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.digest()


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(f"there is no '{path}'; hub: takes a folder that Hugging Face's download made")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise BundleError(f"'{path}' has {path.stat().st_size:,} bytes; expected {MAX_CONFIG_BYTES:,} at most")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"'{path}' is damaged: {' '.join(str(error).split())}; get it again") from error
    if not isinstance(values, dict):
        raise BundleError(f"'{path}' is damaged: expected an object; get it again")
    return values


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's progress bar and its report of tensors that are not used."""
    logging = transformers.utils.logging
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
