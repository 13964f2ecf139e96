"""Settings from files, flags and TOML to a `vtadl.config.schema.Config`, and back.

A misspelt or foreign key is an error that lists the choices, never silently ignored.
"""

import dataclasses
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomli_w

from vtadl.config import plugins
from vtadl.config.presets import DEFAULT_PRESET, PRESETS, preset_config
from vtadl.config.schema import REPAIRED, Config, ModelConfig, not_repaired
from vtadl.errors import ConfigError, VtadlWarning, did_you_mean

RENAMED = {
    "model.stem": "model.backbone",
    "model.stem_blocks": "model.backbone_blocks",
    "model.stem_heads": "model.backbone_heads",
    "model.stem_scaling": "model.backbone_scaling",
    "model.radius": "model.mask_radius",
}
"""Keys by the names that earlier versions gave them: read, with a line that names the new one."""

OWN = ("backbone", "second_backbone", "density")
"""Keys of ``model`` that may name what others add."""


def read_config(
    file: Path | None, preset: str | None, objective: str | None, seed: int | None, settings: Iterable[str]
) -> Config:
    """The settings that a command line asks for: a preset, then a file's keys, then flags.

    Raises:
        ConfigError: whatever does not fit, with the file or flag that said it.
    """
    plugins.give([objective or ""])
    values = {} if file is None else _read_toml(file)
    name = str(values.pop("preset", DEFAULT_PRESET)) if preset is None else preset
    for key, flag in (("preset", preset), ("objective", objective), ("seed", seed)):
        if flag is not None:
            values.pop(key, None)
    config = merge(preset_config(name, objective=objective), values, source=str(file))
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    return apply_settings(config, settings)


def overlay(
    config: Config,
    file: Path | None,
    preset: str | None,
    objective: str | None,
    seed: int | None,
    settings: Iterable[str],
) -> Config:
    """The same as `read_config`, on top of given settings instead of the preset's own.

    Raises:
        ConfigError: as there.
    """
    plugins.give([objective or ""])
    given = {"preset": preset, "objective": objective, "seed": seed}
    values = {} if file is None else _read_toml(file)
    values |= {key: value for key, value in given.items() if value is not None}
    return apply_settings(merge(config, values, source=str(file or "the command line")), settings)


def apply_settings(config: Config, settings: Iterable[str]) -> Config:
    """Apply ``section.key=value`` strings, as given to ``--set``, values in TOML (bare words are strings).

    All at once, so that their order does not matter; of one key that is given twice the last value counts.
    What they name of others is given by that (`vtadl.config.plugins`).

    Raises:
        ConfigError: a string without ``=``, an unknown key, a value of the wrong type, or values that contradict.
    """
    values: dict[str, Any] = {}
    settings = list(settings)
    plugins.give(settings)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set expects KEY=VALUE, such as training.steps=1000; got '{setting}'")
        if key.strip() == "preset":
            raise ConfigError(f"--set {setting}: settings are changes to a preset; choose it with --preset")
        values = _joined(values, _nested(key.strip(), _toml_value(text.strip())))
    return merge(config, values, source=f"--set {settings[0]}" if len(settings) == 1 else "--set")


def with_values(config: Config, *, model: Mapping[str, Any] | None, training: Mapping[str, Any] | None) -> Config:
    """The settings with some of ``model`` and of ``training`` changed, as Python callers give them: backbones and
    densities by name, or as they are.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type.
    """
    own = {key: plugins.named(thing) for key, thing in (model or {}).items() if key in OWN and thing is not None}
    sections = {"model": {**(model or {}), **own}, "training": training}
    return merge(config, {name: values for name, values in sections.items() if values}, source="train")


def merge(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """A copy of ``config`` with the values of a nested mapping; ``source`` names them in errors."""
    merged: Config = _merge(config, _renamed(values, source), source, prefix="")
    return merged


def to_toml(config: Config) -> str:
    """The configuration as TOML; keys whose value is ``None`` are left out."""
    return tomli_w.dumps(_without_none(dataclasses.asdict(config)))


def from_toml(text: str, source: str) -> Config:
    """Read back what `to_toml` wrote.

    Raises:
        ConfigError: not TOML, an unknown key, or a value of the wrong type.
    """
    values = parse_toml(text, source)
    kind = values.get("model", {}).get("kind") if isinstance(values.get("model"), dict) else None
    models = {model().kind: model for model in get_args(ModelConfig)}
    if kind not in models:
        raise ConfigError(f"{source}: model.kind is {kind!r}; expected one of: {', '.join(models)}")
    return merge(Config(preset="", model=models[kind]()), values, source)


def differences(before: Config, after: Config) -> list[str]:
    """The settings in which two configurations differ, each as ``training.steps (100, now 200)``."""
    old, new = (_flat(dataclasses.asdict(config)) for config in (before, after))
    return [f"{key} ({old.get(key)}, now {new.get(key)})" for key in {**old, **new} if old.get(key) != new.get(key)]


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Parse TOML, with errors that name the file."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return parse_toml(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read '{file}': {getattr(error, 'strerror', None) or 'it is not text'}") from error


def _renamed(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values by today's names, `RENAMED`; one line tells of all keys that have another name now."""
    renamed = {section: dict(keys) if isinstance(keys, Mapping) else keys for section, keys in values.items()}
    told = []
    for old, new in RENAMED.items():
        section, key, now = *old.split("."), new.split(".")[1]
        keys = renamed.get(section)
        if not isinstance(keys, dict) or key not in keys:
            continue
        if now in keys:
            raise ConfigError(f"{source}: '{old}' is an earlier name of '{new}'; give the value once")
        keys[now] = keys.pop(key)
        told.append(f"'{old}' is called '{new}' now")
    if told:
        warnings.warn(f"{source}: {', '.join(told)}", VtadlWarning, stacklevel=2)
    return renamed


def _merge(target: Any, values: Mapping[str, Any], source: str, prefix: str) -> Any:
    hints = get_type_hints(type(target))
    changes = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            elsewhere = [preset for preset, one in PRESETS.items() if prefix == "model." and hasattr(one.model, key)]
            hint = f" (it is of: {', '.join(elsewhere)})" if elsewhere else did_you_mean(key, hints)
            raise ConfigError(f"{source}: unknown key '{name}'{hint}; choices: {', '.join(hints)}")
        current = getattr(target, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{source}: '{name}' is a section; set one of its keys, such as {name}.{_first(current)}"
                )
            changes[key] = _merge(current, value, source, prefix=f"{name}.")
        else:
            changes[key] = _checked(value, hints[key], name, source)
    try:
        changed = dataclasses.replace(target, **changes)
        for key in changes.keys() & REPAIRED.keys():
            if getattr(changed, key) != changes[key]:  # set to what is the default without the variant
                raise not_repaired(key, changes[key])
        return changed
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _checked(value: Any, expected: Any, name: str, source: str) -> Any:
    origin = get_origin(expected)
    if origin is Literal:
        if value in get_args(expected):
            return value
        raise ConfigError(f"{source}: {name} is {value!r}; expected one of: {', '.join(map(str, get_args(expected)))}")
    if origin in (Union, UnionType):
        if value in ("auto", "none", None):  # of a setting that may be left to a training, or left out
            return None
        (expected,) = (option for option in get_args(expected) if option is not type(None))
    if get_origin(expected) is tuple:
        if type(value) is int and name == "data.range":  # bits
            value = (value,)
        if isinstance(value, list | tuple) and all(type(item) is int for item in value):
            return tuple(value)
        raise ConfigError(f"{source}: {name} is {value!r}; expected a list of whole numbers, such as [4, 8, 12]")
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"{source}: {name} is {value!r}; expected {expected.__name__}")
    return value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, dot, rest = key.partition(".")
    return {head: _nested(rest, value) if dot else value}


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both nested mappings; where both have a key, the value of the second. A section and what is none give the latter,
    which `merge` refuses, in any order.
    """
    joined = dict(first)
    for key, value in second.items():
        known = first.get(key, {})
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = _joined(known, value)
        elif key in first and isinstance(value, Mapping):
            value = known
        joined[key] = value
    return joined


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}


def _first(section: Any) -> str:
    return dataclasses.fields(section)[-1].name
