"""Published numbers: as printed, and beside published settings alone."""

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from vtadl.compare.findings import Findings, find, study_rows
from vtadl.compare.outcomes import Outcome
from vtadl.compare.published import COLUMNS, published_column, published_value
from vtadl.compare.tables import Method, tabulate
from vtadl.compare.text import entries_csv
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import Category, Sample

ORIGINAL, PROPOSED = COLUMNS


def category(name, train, good, bad):
    samples = [Sample(path=Path(f"{i}.png"), split="train", label="good") for i in range(train)]
    samples += [Sample(path=Path(f"t{i}.png"), split="test", label="good") for i in range(good)]
    samples += [Sample(path=Path(f"b{i}.png"), split="test", label="hole") for i in range(bad)]
    return Category(root=Path(name), layout="mvtec", samples=tuple(samples))


TRANSISTOR = category("transistor", 213, 60, 40)


def test_the_columns_have_the_printed_means():
    assert round(fmean(COLUMNS[ORIGINAL].values.values()), 3) == 0.807
    assert round(fmean(COLUMNS[PROPOSED].values.values()), 3) == 0.857
    assert COLUMNS[ORIGINAL].values["metal_nut"] == 0.726
    assert COLUMNS[PROPOSED].values["metal_nut"] == 0.895
    assert COLUMNS[ORIGINAL].values["zipper"] == 0.808
    assert all(column.title.startswith("published") for column in COLUMNS.values())


@pytest.mark.parametrize("settings", [[], ["model.mixtures=150"], ["model.variant=faithful"]])
def test_the_published_settings_have_a_number(settings):
    assert published_value(apply_settings(preset_config("paper"), settings), TRANSISTOR) == 0.796
    proposed = apply_settings(preset_config("paper", objective=PROPOSED), settings)
    assert published_value(proposed, TRANSISTOR) == 0.701


@pytest.mark.parametrize(
    ("objective", "column"),
    [
        ("nll + 5*mse + 0.5*ssim", ORIGINAL),
        ("5*mse + 0.5*ssim + nll_reference", ORIGINAL),
        ("vae + mse", PROPOSED),
        ("5*mse + 0.5*ssim + nll + nll_reference", None),
        ("5*mse + ssim + nll", None),
        ("mse + vae_image", None),
        (None, None),
    ],
)
def test_a_loss_is_the_published_one_in_whatever_order(objective, column):
    assert published_column(objective) == (COLUMNS[column] if column else None)


def test_two_readings_of_one_loss_share_its_column():
    methods = [Method(preset="paper", objective=f"5*mse + 0.5*ssim + {name}") for name in ("nll", "nll_reference")]
    published = {("transistor", method): 0.796 for method in methods}
    found = Findings(table=tabulate([], "pixel_AUROC"), across=(), within=(), published=published)
    assert found.columns == {methods[0]: COLUMNS[ORIGINAL]}


def test_they_stand_in_columns_of_their_own_beside_the_metrics_they_are_named_for():
    method, metrics = Method(preset="paper", objective=ORIGINAL), ("pixel_AUROC", "pixel_AP")
    outcomes = [
        Outcome(
            category=name,
            preset="paper",
            objective=ORIGINAL,
            seed=0,
            status="done",
            metrics=dict.fromkeys(metrics, value),
        )
        for name, value in (("bottle", 0.5), ("cable", 0.6))
    ]
    published = {("bottle", method): 0.95, ("cable", method): 0.77}
    found = {
        metric: find(outcomes, metric, lambda _: dict.fromkeys(metrics, np.zeros(5)), published) for metric in metrics
    }
    head, rows = study_rows(found["pixel_AUROC"])
    assert head == ["category", ORIGINAL, "published: original loss"]
    assert rows == [["bottle", "0.500", "0.950"], ["cable", "0.600", "0.770"], ["mean", "0.550", "0.860"]]
    assert study_rows(found["pixel_AP"])[0] == ["category", ORIGINAL]
    assert f"pixel_AUROC,bottle,paper,{ORIGINAL},0.5,,1,0.95" in entries_csv(found).splitlines()


@pytest.mark.parametrize(
    "setting", ["training.steps=1000", "model.image_size=256", "model.patch_size=32", "training.learning_rate=1e-3"]
)
def test_other_settings_have_none(setting):
    assert published_value(apply_settings(preset_config("paper"), [setting]), TRANSISTOR) is None


def test_other_losses_presets_and_images_have_none():
    assert published_value(preset_config("paper", objective="mse"), TRANSISTOR) is None
    assert published_value(preset_config("gaussian"), TRANSISTOR) is None
    assert published_value(preset_config("paper"), category("transistor", 12, 4, 4)) is None
    assert published_value(preset_config("paper"), category("flange", 213, 60, 40)) is None
