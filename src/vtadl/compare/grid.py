"""Which cells a comparison has: categories x presets x objectives x seeds."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vtadl.compare.cells import Cell, data_hash
from vtadl.config import plugins
from vtadl.config.aliases import preset_name
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import DEFAULT_PRESET, PRESETS, preset_config
from vtadl.config.schema import Config, GaussianConfig
from vtadl.data.layouts import Category, read_category
from vtadl.errors import ConfigError, DataError, did_you_mean
from vtadl.losses.objective import parse_objective
from vtadl.models.build import check_model
from vtadl.runs.weights import backbone_checksum

SOONEST = (DEFAULT_PRESET, "context", "paper")
"""From what is fitted in seconds, over minutes, to hours on a CPU."""


def plan_cells(
    root: Path,
    *,
    categories: Sequence[str] | None = None,
    presets: Sequence[str] | None = None,
    objectives: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    settings: Sequence[str] = (),
) -> list[Cell]:
    """All cells, in the order categories, presets, objectives, seeds.

    Args:
        root: the folder of the categories' folders.
        categories: names below the root; ``None``: every one.
        presets: names, each alone or with settings of its own, ``gaussian model.smoothing=2``; ``None``:
            `soonest_preset`.
        objectives: expressions; without any, each preset's own. A preset that takes none is one cell, without one.
        seeds: of everything random; a model that draws nothing is one cell, of the first.
        settings: ``section.key=value``, each applied to the presets that have the key.

    Raises:
        ConfigError: a preset, objective, seed or setting that cannot be.
        DataError: no such category.
        BundleError: weights of a backbone that cannot be read.
    """
    if presets is None:
        presets = [soonest_preset(objectives, settings)]
    configs = configurations(presets, objectives, seeds, settings)
    found = find_categories(root, categories)
    hashes = {name: data_hash(category) for name, category in found.items()}
    backbones = {
        config.model: backbone_checksum(config) for config in {config.model: config for config in configs}.values()
    }
    return [
        Cell(
            category=category,
            name=name,
            config=config,
            own_settings=own,
            data_sha256=hashes[name],
            backbone_sha256=backbones[config.model],
        )
        for name, category in found.items()
        for config, own in configs.items()
    ]


def configurations(
    presets: Sequence[str], objectives: Sequence[str], seeds: Sequence[int], settings: Sequence[str]
) -> dict[Config, tuple[str, ...]]:
    """The settings of each preset, objective and seed, with those that are the preset's own in this comparison.

    Raises:
        ConfigError: one of them cannot be.
    """
    plugins.give([*objectives, *presets])
    canonical = [str(parse_objective(expression)) for expression in objectives]
    methods = [(_preset_of(text), tuple(text.split()[1:])) for text in dict.fromkeys(presets)]
    plain = [config for config, _ in methods]
    trained = [name for name, preset in PRESETS.items() if preset.objective is not None]
    if canonical and not any(config.preset in trained for config in plain):
        raise ConfigError(
            f"no chosen preset takes an objective: {', '.join(presets)}; add one that does: --preset {trained[0]}"
        )
    for setting in settings:
        _check_setting(setting, plain)
    found: dict[Config, tuple[str, ...]] = {}
    for config, own in methods:
        for setting in own:
            _check_setting(setting, [config])
        applied = [*(setting for setting in settings if _takes(config, setting)), *own]
        for objective in dict.fromkeys(canonical if config.objective and canonical else [config.objective]):
            objective = str(parse_objective(objective)) if objective else None
            configured = apply_settings(dataclasses.replace(config, objective=objective), applied)
            check_model(configured)
            # What no seed changes is one cell, not several that agree with a spread of 0.
            own_seeds = list(dict.fromkeys(seeds))[: 1 if _is_seedless(configured) else None]
            for seed in own_seeds:
                found.setdefault(dataclasses.replace(configured, seed=seed), own)
    return found


def _is_seedless(config: Config) -> bool:
    """Whether the model draws nothing, so that every seed gives the same detector, to the bit."""
    return isinstance(config.model, GaussianConfig) and config.model.density is None


def _preset_of(text: str) -> Config:
    """The preset that a text begins with."""
    return preset_config(preset_name((text.split() or [text])[0]))


def soonest_preset(objectives: Sequence[str], settings: Sequence[str]) -> str:
    """Of the presets that can serve all the objectives and have all the settings, the one that is trained soonest.

    Raises:
        ConfigError: there is none.
    """
    refused: dict[bool, ConfigError] = {}
    for name in SOONEST:
        try:
            configurations([name], objectives, [0], settings)
        except ConfigError as error:
            # Of a preset that has the settings, the first error says most.
            refused.setdefault(all(_takes(preset_config(name), setting) for setting in settings), error)
        else:
            return name
    raise refused[True] if True in refused else refused[False]


def find_categories(root: Path, names: Sequence[str] | None) -> dict[str, Category]:
    """The categories below a folder, by name, in alphabetical order or the one asked for.

    Raises:
        DataError: there are none, or not those that are asked for, or the folder is itself a category.
    """
    if not root.is_dir():
        raise DataError(f"'{root}' is no folder; expected one that holds a folder for each category")
    if names is not None:
        return {name: _named(root, name) for name in dict.fromkeys(names)}
    if (root / "train").is_dir() or (root / "good").is_dir():
        raise DataError(
            f"'{root}' is itself a category; give the folder that holds it, with --categories {root.resolve().name}"
        )
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            found[folder.name] = read_category(folder)
        except DataError:
            continue  # a folder of something else, such as documents
    if not found:
        raise DataError(f"'{root}' holds no category; expected a folder for each, such as {root / 'bottle' / 'train'}")
    return found


def _named(root: Path, name: str) -> Category:
    folder = root / name
    if not name or not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
        here = sorted(path.name for path in root.iterdir() if path.is_dir())
        hint = did_you_mean(name, here)
        raise DataError(f"no category '{name}' in '{root}'{hint}; there are: {', '.join(here) or 'none'}")
    return read_category(folder)


def _check_setting(setting: str, configs: Iterable[Config]) -> None:
    key, equals, _ = setting.partition("=")
    own = {"seed": "--seeds", "objective": "--objective", "preset": "--preset"}
    if equals and key.strip() in own:
        raise ConfigError(f"--set {setting}: a comparison takes it as {own[key.strip()]}")
    if not any(_takes(config, setting) for config in configs):
        apply_settings(next(iter(configs)), [setting])  # says what is wrong with it


def _takes(config: Config, setting: str) -> bool:
    target: Any = config
    for part in setting.partition("=")[0].strip().split("."):
        if not hasattr(target, part):
            return False
        target = getattr(target, part)
    return True
