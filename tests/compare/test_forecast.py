"""What a comparison says of its time before it starts and on the way, and the preset that it takes by itself."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.commands.compare import METRIC as DEFAULT_METRIC
from vtadl.compare import forecast
from vtadl.compare.compare import compare
from vtadl.compare.forecast import Forecast, Rates
from vtadl.compare.grid import plan_cells, soonest_preset
from vtadl.errors import ConfigError, DataError, VtadlWarning

CPU = torch.device("cpu")
TINY = ["model.image_size=32", "model.patch_size=16", "model.width=16", "model.mlp_width=16", "model.depth=1"]
TINY += ["model.heads=2", "model.mixtures=2", "training.batch_size=2"]
LOSSES = ["mse + vae", "mse + nll"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name in ("brick", "cloth"):
        make_category(folder / name, train=5, good=2, defective=3)
    return folder


@pytest.fixture
def cells(root):
    return plan_cells(root, objectives=LOSSES, seeds=[0, 1], settings=[*TINY, "training.steps=3"])


class TestPreset:
    @pytest.mark.parametrize(
        ("objectives", "settings", "preset"),
        [
            ([], [], "fusion"),
            (["mse + vae"], [], "context"),
            (["mse + vae", "5*mse + 0.5*ssim + nll"], [], "paper"),  # SSIM is of pixels
            ([], ["model.patch_size=32"], "paper"),
            (["mse + vae"], ["model.mask_radius=1"], "context"),
            ([], ["model.pooling=1"], "context"),
        ],
    )
    def test_it_serves_the_objectives_and_settings_and_trains_soonest(self, objectives, settings, preset):
        assert soonest_preset(objectives, settings) == preset

    @pytest.mark.parametrize(
        ("objectives", "settings", "message"),
        [
            (["mse + nothing"], [], "unknown term"),
            ([], ["model.pooling=wide"], "pooling"),
            ([], ["model.x=1"], "'model.x'"),
        ],
    )
    def test_what_none_can_serve_says_why(self, objectives, settings, message):
        with pytest.raises(ConfigError, match=message):
            soonest_preset(objectives, settings)


class TestForecast:
    def test_each_kind_is_measured_once_on_two_steps(self, cells, monkeypatch):
        taken = []
        optimise = forecast.TrainingSession.optimise

        def counted(session, network, examples, **options):
            taken.append(session.config.training.steps)
            return optimise(session, network, examples, **options)

        monkeypatch.setattr(forecast.TrainingSession, "optimise", counted)
        assert Forecast(cells, CPU, 1).kinds == 2
        assert taken == [2, 2]

    def test_a_cell_takes_its_steps_and_its_images(self, cells):
        rates = Rates(step=2.0, fitted_image=0.5, scored_image=0.25)
        good, tested = 5, 5
        assert rates.cell(cells[0]) == 3 * 2.0 + good * 0.5 + (good + tested) * 0.25
        epochs = dataclasses.replace(cells[0].config.training, steps=None, epochs=4)
        long = dataclasses.replace(cells[0], config=dataclasses.replace(cells[0].config, training=epochs))
        assert rates.cell(long) == 4 * 3 * 2.0 + good * 0.5 + (good + tested) * 0.25  # five images are three steps

    def test_more_steps_take_longer(self, root):
        few, many = (
            plan_cells(root, objectives=LOSSES, settings=[*TINY, f"training.steps={n}"]) for n in (10, 100_000)
        )
        short, long = (Forecast(planned, CPU, 1) for planned in (few, many))
        assert short.total is not None and long.total is not None
        assert long.total > 20 * short.total
        with pytest.warns(VtadlWarning, match="takes about .* h; it can be stopped and resumed"):
            # Two categories and two losses, a step of which cannot take less than a tenth of a millisecond.
            Forecast(plan_cells(root, objectives=LOSSES, settings=[*TINY, "training.steps=90000000"]), CPU, 1).line(0)

    def test_the_time_left_is_that_of_those_that_ended(self, cells, monkeypatch):
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(forecast, "_measured", lambda *_: Rates(step=10.0, fitted_image=0.0, scored_image=0.0))
        monkeypatch.setattr(forecast.time, "monotonic", lambda: clock.now)
        foreseen = Forecast(cells, CPU, 1)
        assert foreseen.total == 8 * 30
        assert foreseen.line(3).startswith("8 cells to do, 3 done already, about 4 min")
        clock.now = 60.0  # twice as slow as foreseen
        assert foreseen.after(cells[0]) == "1 of 8 cells, about 7 min left"
        assert Forecast(cells, CPU, 2).total == 8 * 30 / 2

    def test_a_kind_that_cannot_be_measured_is_not_foreseen(self, cells, monkeypatch):
        def broken(category):
            raise DataError("no")

        monkeypatch.setattr(forecast, "good_images", broken)
        foreseen = Forecast(cells, CPU, 1)
        assert foreseen.total is None
        assert "not known" in foreseen.line(0)
        foreseen.started -= 70
        assert foreseen.after(cells[0]) == "1 of 8 cells, about 8 min left"


def test_it_is_said_before_the_first_cell_and_after_each_but_the_last(cells, tmp_path):
    said = []
    done = lambda cell, outcome: said.append("cell")  # noqa: E731
    compare(cells[:2], tmp_path, CPU, metric=DEFAULT_METRIC, done=done, say=said.append)
    assert said[0].startswith("2 cells to do, about ")
    assert said[1] == "cell"
    assert said[2].startswith("1 of 2 cells, about ")
    assert said[3:] == ["cell"]
    again = []
    compare(cells[:2], tmp_path, CPU, metric=DEFAULT_METRIC, say=again.append)
    assert again == []  # nothing is left to do


def test_the_published_schedule_is_never_a_surprise(root, tmp_path, capsys, monkeypatch):
    def stop(*arguments, **options):
        raise DataError("stop here")

    monkeypatch.setattr(forecast, "_measured", lambda *_: Rates(step=3.0, fitted_image=0.0, scored_image=0.0))
    monkeypatch.setattr("vtadl.compare.compare.run_cell", stop)
    arguments = [
        "compare",
        str(root),
        "--out",
        str(tmp_path),
        "--objective",
        "5*mse + 0.5*ssim + nll",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert "vtadl: preset paper: it serves the objectives and trains soonest" in printed
    assert "vtadl: 2 cells to do, about 40 min" in printed
    assert main([*arguments, "--seeds", "0,1,2"]) == 1
    assert "warning: this comparison takes about 2.0 h" in capsys.readouterr().err
