"""What a run folder says of itself, read without its network: nothing here loads torch."""

import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtadl.config.overrides import from_toml
from vtadl.config.schema import SQUARE, Config, with_aspect
from vtadl.decision.card import CARD_FILE, Card, from_json
from vtadl.errors import BundleError, ConfigError
from vtadl.runs.files import MAX_TEXT_BYTES
from vtadl.runs.origin import TIMES_FILE
from vtadl.version import __version__

FORMAT = 2
"""Format 1 differs in the preset ``context`` alone, which held other tensors."""
OLD_PRESETS = ("context", "fast", "dinomaly")
"""Presets whose runs of format 1 this version does not read."""
RECORD_FILE = "run.json"
WEIGHTS_FILE, LEARNED_FILE = "weights.safetensors", "learned.safetensors"
CONFIG_FILE, LOG_FILE = "config.toml", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class Description:
    """A run without its network, verified."""

    record: dict[str, Any]
    config: Config
    times: dict[str, Any]
    card: Card | None


def describe_run(folder: Path) -> Description:
    """Read what a run says of itself; its weights are compared with their checksum, and not loaded.

    Raises:
        BundleError: no run, an unfinished, damaged or newer one.
    """
    described = describe_but_weights(folder)
    check_checksum(folder / WEIGHTS_FILE, described.record["weights_sha256"])
    return described


def describe_but_weights(folder: Path) -> Description:
    """As `describe_run`, for who loads the weights and compares them then."""
    record = read_record(folder)
    try:
        config = with_aspect(from_toml(read_text(folder / CONFIG_FILE), str(folder / CONFIG_FILE)), SQUARE)
        counts = [record["source"][name] + 0 for name in ("trained_on", "held_out")]
        expected, texts = record["weights_sha256"], [record["source"][name] for name in ("category", "layout")]
        if not all(isinstance(text, str) for text in (expected, *texts)) or min(counts) < 0:
            raise ValueError("its record is no vtadl's")
    except BundleError:
        raise
    except (ConfigError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(folder, error) from error
    card = read_card(folder / CARD_FILE, expected)
    return Description(record=record, config=config, times=read_times(folder), card=card)


def check_checksum(path: Path, expected: str) -> None:
    """Compare the content of a file of weights with the checksum in its run's record.

    Raises:
        BundleError: it differs, or cannot be read.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
    if found != expected:
        raise damaged(path, "its checksum differs")


def read_record(folder: Path) -> dict[str, Any]:
    """The content of ``run.json``, its format checked.

    Raises:
        BundleError: no run, an unfinished, damaged or newer one.
    """
    if not folder.is_dir():
        raise BundleError(f"no run at '{folder}'; expected the folder that vtadl train --out wrote")
    if is_unfinished(folder):
        raise BundleError(
            f"'{folder}' is an unfinished training{so_far(folder)}; resume with: vtadl train CATEGORY --out {folder} "
            "--resume"
        )
    if not (folder / RECORD_FILE).exists():
        raise BundleError(
            f"'{folder}' is no finished run: it has no run.json; expected a folder that vtadl train wrote"
        )
    record = read_json(folder / RECORD_FILE)
    version = record.get("format")
    if not isinstance(version, int):
        raise damaged(folder / RECORD_FILE, "no format number")
    if version < FORMAT and record.get("preset") in OLD_PRESETS:
        raise BundleError(
            f"'{folder}' has format {version}, preset '{record['preset']}', written by vtadl {record.get('vtadl')}: "
            f"another detector than this version's; read it with that vtadl, or train again"
        )
    if version > FORMAT:
        raise BundleError(
            f"'{folder}' has format {version}, written by vtadl {record.get('vtadl')}; "
            f"this is vtadl {__version__}, which reads up to {FORMAT}: upgrade vtadl"
        )
    return record


def read_card(path: Path, weights_sha256: str) -> Card | None:
    """The decision card of a run; ``None`` where it has none.

    Raises:
        BundleError: it is damaged, or belongs to another detector.
    """
    if not path.exists():
        return None
    card = from_json(read_text(path), str(path))
    if card.weights_sha256 != weights_sha256:
        raise BundleError(
            f"'{path}' belongs to a detector with other weights; remove it and run vtadl calibrate on this one"
        )
    return card


def is_unfinished(folder: Path) -> bool:
    """Whether the folder holds a training that has not ended."""
    return (folder / LOG_FILE).exists() and (folder / CONFIG_FILE).exists() and not (folder / RECORD_FILE).exists()


def so_far(folder: Path) -> str:
    """How far an unfinished training is, as errors say it."""
    from vtadl.runs.checkpoint import CHECKPOINT_FILE, read_metadata  # loads torch

    try:
        return f" (step {int(read_metadata(folder / CHECKPOINT_FILE)['state']['step'])})"
    except (BundleError, KeyError, TypeError, ValueError):
        return ""


def check_regular(path: Path, most: int | None = None) -> None:
    """Refuse what is no plain file (a pipe would be waited for, a device has no end), or has more than ``most`` bytes.

    Raises:
        BundleError: it is one, or there is nothing.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise damaged(path, "it is no plain file")
    if most is not None and found.st_size > most:
        raise damaged(path, f"it has {found.st_size:,} bytes, expected {most:,} at most")


def read_text(path: Path) -> str:
    """A text file of a run folder.

    Raises:
        BundleError: it cannot be read, or is damaged.
    """
    check_regular(path, MAX_TEXT_BYTES)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise damaged(path, "it is not text") from error


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file of a run folder.

    Raises:
        BundleError: it cannot be read, or is damaged.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, "expected an object")
    return content


def read_times(folder: Path) -> dict[str, Any]:
    """Dates and durations of a run; empty where they were lost.

    Raises:
        BundleError: they are damaged.
    """
    return read_json(folder / TIMES_FILE) if (folder / TIMES_FILE).exists() else {}


def damaged(path: Path, reason: object) -> BundleError:
    """The error of a run folder, or of a file in it, that is not as it was written."""
    return BundleError(f"'{path}' is damaged: {' '.join(str(reason).split())}; restore it or train again")


def unreadable(path: Path, error: OSError) -> BundleError:
    """The error of a file of a run folder that the system does not give."""
    return BundleError(f"cannot read '{path}': {error.strerror}; restore it or train again")
