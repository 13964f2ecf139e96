"""The page of the loss study says what its results say, and the repaired variant is the set that its rule chooses."""

import re

from loss_study.page import BAR, LOSSES, PAGE, choose, with_tables
from loss_study.results import changes, mean_images
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config


def test_the_tables_are_those_of_the_kept_results():
    text = PAGE.read_text(encoding="utf-8")
    assert with_tables(text) == text


def test_the_page_is_short():
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_repaired_variant_is_what_the_rule_chooses():
    found, means = changes(), mean_images(256)
    chosen = choose(found, means)
    for name in ("transistor", "bottle"):
        assert all(found[chosen][name, loss] >= means[name] + BAR for loss in LOSSES)
    score = chosen.score
    assert score.of == "objective"  # the density is in the score
    settings = [*chosen.arm.settings, f"model.residual={score.residual}", f"model.anomaly_map={score.anomaly_map}"]
    by_settings = apply_settings(preset_config("paper"), settings).model
    by_name = apply_settings(preset_config("paper"), ["model.variant=repaired"]).model
    assert vars(by_name) == {**vars(by_settings), "variant": "repaired"}


def test_values_at_the_bar_are_bold():
    text = PAGE.read_text(encoding="utf-8")
    assert re.search(
        r"\| 3 \| pretrained; density \+ `gms` residual \| \*\*0\.659\*\* \| \*\*0\.584\*\* .* \| 0\.876 \|", text
    )
