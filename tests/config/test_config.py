"""Settings: presets, TOML there and back, and errors that list the choices."""

import dataclasses
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtadl.config.overrides import RENAMED, apply_settings, from_toml, read_config, to_toml
from vtadl.config.presets import PRESETS, preset_config
from vtadl.config.schema import Config
from vtadl.errors import ConfigError, VtadlWarning


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_toml(name):
    config = preset_config(name, seed=7)
    assert from_toml(to_toml(config), "config.toml") == config


@given(
    seed=st.integers(0, 2**31),
    smoothing=st.floats(0, 20, allow_nan=False),
    batch_size=st.integers(1, 64),
    steps=st.none() | st.integers(1, 10**6),
)
def test_changed_settings_survive_toml(seed, smoothing, batch_size, steps):
    config = preset_config("paper", seed=seed)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, smoothing=smoothing),
        training=dataclasses.replace(config.training, batch_size=batch_size, steps=steps),
    )
    assert from_toml(to_toml(config), "config.toml") == config


def test_settings_reach_their_section():
    config = apply_settings(
        preset_config("paper"),
        ["training.steps=20", "model.variant=faithful", "training.learning_rate=1", "model.smoothing = 2"],
    )
    assert (config.training.steps, config.model.variant) == (20, "faithful")
    assert (config.training.learning_rate, config.model.smoothing) == (1.0, 2.0)
    assert isinstance(config.training.learning_rate, float)


SETTINGS = (
    "model.variant=repaired",
    "model.residual=squared",
    "model.residual=gms",
    "model.anomaly_map=objective",
    "model.anomaly_map=sum",
    "model.pretrained_patches=false",
    "model={width = 64}",
    "model.depth=3",
    "model=3",
    "model.radius=1",
    "model.mask_radius=1",
    "training.steps=20",
    "training.step=20",
    "seed=4",
)


def outcome(settings):
    """The configuration, or the error: the same whatever the order."""
    with warnings.catch_warnings(action="ignore", category=VtadlWarning):
        try:
            return apply_settings(preset_config("paper"), settings)
        except ConfigError as error:
            return str(error)


@given(st.lists(st.sampled_from(SETTINGS), unique_by=lambda setting: setting.partition("=")[0]), st.randoms())
def test_the_order_of_settings_does_not_matter(settings, random):
    shuffled = random.sample(settings, len(settings))
    found, other = outcome(settings), outcome(shuffled)
    if isinstance(found, Config):
        assert other == found
        for key, value in (setting.partition("=")[::2] for setting in settings):
            if key in ("model.residual", "model.anomaly_map"):  # what is asked for is what is set
                assert getattr(found.model, key.partition(".")[2]) == value
    else:
        assert isinstance(other, str)  # of several mistakes either may be named


@pytest.mark.parametrize("order", [1, -1])
def test_a_setting_that_contradicts_the_variant_is_never_overridden(order):
    settings = ["model.residual=squared", "model.variant=repaired"][::order]
    with pytest.raises(ConfigError, match=r"model\.residual is 'squared', and variant 'repaired' has 'gms'"):
        apply_settings(preset_config("paper"), settings)


def test_auto_leaves_a_setting_to_the_training():
    config = apply_settings(preset_config("gaussian"), ["model.aspect=2", "model.aspect=auto"])
    assert config.model.aspect is None
    assert from_toml('[model]\nkind = "gaussian"\naspect = "auto"\n', "x").model.aspect is None


def test_none_unsets_a_setting():
    config = apply_settings(preset_config("paper"), ["training.steps=20", "training.steps=none"])
    assert config.training.steps is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.steps", "expects KEY=VALUE"),
        ("training.step=3", r"unknown key 'training.step' \(did you mean 'steps'\?\)"),
        ("trainig.steps=3", r"unknown key 'trainig' \(did you mean 'training'\?\)"),
        ("training=3", "'training' is a section"),
        ("training.steps=many", "training.steps is 'many'; expected int"),
        ("training.steps=1.5", "expected int"),
        ("training.steps=true", "expected int"),
        ("training.optimizer=sgd", "expected one of: adam, adamw"),
        ("model.patches=3", "unknown key 'model.patches'"),
        ("model.density=x:y", r"unknown key 'model.density' \(it is of: gaussian\); choices: kind"),
    ],
)
def test_wrong_settings_say_what_is_right(setting, message):
    with pytest.raises(ConfigError, match=message):
        apply_settings(preset_config("paper"), [setting])


def test_a_list_of_numbers_is_a_setting():
    config = apply_settings(preset_config("memory"), ["model.backbone_blocks=[8, 12]"])
    assert config.model.backbone_blocks == (8, 12)
    assert from_toml(to_toml(config), "config.toml") == config


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("12", "backbone_blocks is 12; expected a list of whole numbers"),
        ("[true]", "expected a list of whole numbers"),
        ("[1.5]", "expected a list of whole numbers"),
        ("[]", "expected different numbers from 1"),
        ("[0, 1]", "expected different numbers from 1"),
        ("[3, 3]", "expected different numbers from 1"),
    ],
)
def test_blocks_that_cannot_be(value, message):
    with pytest.raises(ConfigError, match=message):
        apply_settings(preset_config("gaussian"), [f"model.backbone_blocks={value}"])


def test_earlier_names_of_settings_are_read_with_a_line_that_names_the_new_ones():
    old = to_toml(apply_settings(preset_config("memory"), ["model.backbone_blocks=[4]"])).replace("backbone", "stem")
    with pytest.warns(VtadlWarning, match=r"^old.toml: 'model.stem' is .*, 'model.stem_blocks' is .* now$"):
        config = from_toml(old, "old.toml")
    assert config.model.backbone_blocks == (4,)
    with pytest.warns(VtadlWarning, match=r"'model.radius' is called 'model.mask_radius' now"):
        assert apply_settings(preset_config("context"), ["model.radius=1"]).model.mask_radius == 1


def test_a_setting_by_both_names_is_an_error():
    text = to_toml(preset_config("memory")).replace("[model]", '[model]\nstem = "efficientnet-lite0"')
    with pytest.raises(ConfigError, match=r"'model.stem' is an earlier name of 'model.backbone'; give the value once"):
        from_toml(text, "both.toml")


def test_every_new_name_is_a_setting():
    settings = {f"model.{key}" for preset in PRESETS.values() for key in dataclasses.asdict(preset.model)}
    assert set(RENAMED.values()) <= settings
    assert not settings & RENAMED.keys()


def test_unknown_preset_lists_the_choices():
    with pytest.raises(ConfigError, match=r"did you mean 'gaussian'\?\); choose from: .*memory"):
        preset_config("gausian")


def test_an_objective_needs_a_preset_that_is_trained():
    with pytest.raises(ConfigError, match="takes no objective; --objective goes with: context, paper"):
        preset_config("gaussian", objective="mse")


def read(file: Path | None = None, **flags) -> Config:
    defaults = {"preset": None, "objective": None, "seed": None, "settings": ()}
    return read_config(file, **(defaults | flags))


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "paper"\nseed = 3\nobjective = "mse"\n[model]\ndepth = 2\n[training]\nsteps = 9\n')
    config = read(file)
    assert (config.preset, config.seed, config.objective) == ("paper", 3, "mse")
    config = read(file, seed=5, objective="l1", settings=["training.steps=10"])
    assert (config.seed, config.objective, config.model.depth, config.training.steps) == (5, "l1", 2, 10)


def test_a_runs_own_settings_are_a_config_file(tmp_path):
    file = tmp_path / "config.toml"
    config = apply_settings(preset_config("memory", seed=4), ["model.size=50"])
    file.write_text(to_toml(config))
    assert read(file) == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("preset = ", "is not valid TOML"),
        ("steps = 3", "unknown key 'steps'"),
        ('preset = "nothing"', "unknown preset 'nothing'"),
        ('preset = "memory"\n[model]\nkind = "gaussian"', "expected one of: memory"),
        ("\x00", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, message):
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read '.*none.toml': No such file"):
        read(tmp_path / "none.toml")


def test_bytes_that_are_no_text(tmp_path):
    file = tmp_path / "image.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not text"):
        read(file)
