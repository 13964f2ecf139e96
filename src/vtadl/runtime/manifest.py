"""What an export folder says of itself: ``manifest.json``, written by `vtadl export` and checked when it is read.

EXPORT/manifest.json   what the model is, and the checksum of its files
EXPORT/model.onnx      ONNX; or model.xml and model.bin, OpenVINO
EXPORT/card.json       how scores become verdicts, where the detector was calibrated
EXPORT/times.json      when it was made, and its latency then
"""

import dataclasses
import hashlib
import json
import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vtadl.data.likeness import checked_look
from vtadl.data.roi import REGION_FILE, read_stored_mask
from vtadl.data.value_range import TOP
from vtadl.decision.card import CARD_FILE, Card, from_json
from vtadl.errors import BundleError, DataError
from vtadl.runs.files import MAX_TEXT_BYTES

FORMAT = 1
MANIFEST_FILE = "manifest.json"
TIMES_FILE = "times.json"
MAX_MODEL_BYTES = 2_000_000_000
"""What an ONNX file can have at most."""

Runtime = Literal["onnx", "openvino"]
Precision = Literal["float32"]
MODEL_FILES: dict[Runtime, tuple[str, ...]] = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
"""Fixed names: no manifest can point to a file elsewhere."""

_FIX = "restore it, or run vtadl export again"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an exported model is."""

    format: int
    vtadl: str
    runtime: Runtime
    precision: Precision
    category: str
    preset: str
    image_size: int
    """The setting: a side in pixels of the square that the model itself resizes an image to, or of one as large."""
    input_size: tuple[int, int]
    """Height and width in pixels that the model itself resizes an image to; what was written before inputs could be
    oblong has none and is square."""
    value_range: tuple[int, int] | None
    """Of 16-bit images, the values that count as black and white: stretched to 0..65535 before the model sees them;
    ``None``: all of them."""
    training_images: dict[str, Any]
    """What the training images have in common (`vtadl.data.likeness`); empty in what was written before."""
    weights_sha256: str
    """Of the detector that was exported; the card belongs to the same."""
    colour_low: float
    """Score that heat maps show as calm."""
    colour_high: float
    """Score that heat maps show as fully abnormal."""
    input: str
    """The model's input, in words."""
    output: str
    """The model's output, in words."""
    resampling: str
    """How the model resizes the image and the map, in words."""
    files: dict[str, str]
    """SHA-256 of each of the model's files."""
    agreement: dict[str, Any]
    """How closely scores and maps agreed with PyTorch on how many sample images when it was exported."""


def to_json(manifest: Manifest) -> str:
    """The manifest as JSON text."""
    return json.dumps(dataclasses.asdict(manifest), indent=2, allow_nan=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export folder.

    Raises:
        BundleError: no export, a damaged one, or one of a newer version.
    """
    path = folder / MANIFEST_FILE
    if not folder.is_dir() or not path.exists():
        raise BundleError(f"no export at '{folder}'; expected the folder that vtadl export wrote")
    try:
        content = json.loads(read_text(path))
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(f"'{path}' has format {version}; this vtadl reads up to {FORMAT}: upgrade vtadl")
    try:
        return _checked(content)
    except ValueError as error:
        raise damaged(path, error) from error


def read_model(folder: Path, manifest: Manifest) -> list[bytes]:
    """The model's files, verified, in the order of `MODEL_FILES`.

    Raises:
        BundleError: one is missing, unreadable, or has another checksum.
    """
    contents = []
    for name in MODEL_FILES[manifest.runtime]:
        content = _read_bytes(folder / name, MAX_MODEL_BYTES)
        if hashlib.sha256(content).hexdigest() != manifest.files[name]:
            raise damaged(folder / name, "its checksum differs")
        contents.append(content)
    return contents


def read_card(folder: Path, manifest: Manifest) -> Card | None:
    """The decision card beside the model; ``None`` where there is none.

    Raises:
        BundleError: a damaged one, or another detector's.
    """
    path = folder / CARD_FILE
    if not path.exists():
        return None
    card = from_json(read_text(path), str(path))
    if card.weights_sha256 != manifest.weights_sha256:
        raise BundleError(f"'{path}' belongs to a detector with other weights; run vtadl export again")
    return card


def read_region(folder: Path) -> NDArray[np.bool_] | None:
    """The region of interest; ``None`` where all of every image counts.

    Raises:
        BundleError: it is damaged.
    """
    path = folder / REGION_FILE
    if not path.exists():
        return None
    try:
        return read_stored_mask(path)
    except DataError as error:
        raise BundleError(f"{error}; or run vtadl export again") from error


def read_text(path: Path) -> str:
    """A text file of an export.

    Raises:
        BundleError: it is missing, unreadable, too large, or no text.
    """
    try:
        return _read_bytes(path, MAX_TEXT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, "it is not text") from error


def damaged(path: Path, reason: object) -> BundleError:
    """The error for a file that cannot be used."""
    return BundleError(f"'{path}' is damaged: {' '.join(str(reason).split())[:200]}; {_FIX}")


def _checked(content: Any) -> Manifest:
    kinds = {field.name: field.type for field in dataclasses.fields(Manifest)}
    if isinstance(content, dict) and "image_size" in content:
        earlier: dict[str, Any] = {
            "input_size": [content["image_size"]] * 2,
            "value_range": None,
            "training_images": {},
        }
        content = {**earlier, **content}
    if not isinstance(content, dict) or content.keys() != kinds.keys():
        raise ValueError(f"expected an object with the keys {', '.join(kinds)}")
    for name, kind in kinds.items():
        if kind is str and not isinstance(content[name], str):
            raise ValueError(f"{name} is no text")
    for name in ("format", "image_size"):
        if type(content[name]) is not int or content[name] < 1:
            raise ValueError(f"{name} is {str(content[name])[:40]}, expected a whole number from 1 on")
    size = content["input_size"]
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side >= 1 for side in size)):
        raise ValueError(f"input_size is {str(size)[:40]}, expected two whole numbers from 1 on")
    for name in ("colour_low", "colour_high"):
        value = content[name]
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{name} is {str(value)[:40]}, expected a finite number")
    for name, choices in (("runtime", get_args(Runtime)), ("precision", get_args(Precision))):
        if content[name] not in choices:
            raise ValueError(f"{name} is {str(content[name])[:40]!r}, expected one of: {', '.join(choices)}")
    files, names = content["files"], MODEL_FILES[content["runtime"]]
    if not isinstance(files, dict) or set(files) != set(names):
        raise ValueError(f"files is not an object with the checksums of {' and '.join(names)}")
    if not isinstance(content["agreement"], dict):
        raise ValueError("agreement is no object")
    checked_look(content["training_images"])
    value_range = content["value_range"]
    if value_range is not None:
        if not isinstance(value_range, list) or [type(value) for value in value_range] != [int, int]:
            raise ValueError("value_range is no pair of whole numbers")
        if not 0 <= value_range[0] < value_range[1] <= TOP:
            raise ValueError(f"value_range is {value_range}, expected two values from 0 to {TOP}")
        value_range = (value_range[0], value_range[1])
    return Manifest(**{**content, "input_size": (size[0], size[1]), "value_range": value_range})


def _read_bytes(path: Path, most: int) -> bytes:
    try:
        found = path.stat()
        # A pipe would be waited for, and a device has no end.
        if not stat.S_ISREG(found.st_mode):
            raise damaged(path, "it is no plain file")
        if found.st_size > most:
            raise damaged(path, f"it has {found.st_size:,} bytes, expected {most:,} at most")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read '{path}': {error.strerror}; {_FIX}") from error
