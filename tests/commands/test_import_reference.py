"""``vtadl import-reference``: from the published code's files to a detector that scores as it does."""

import json

import numpy as np
import pytest
import torch

import vtadl
from helpers.categories import good_image, make_category
from helpers.literal_vtadl import PublishedVtadl
from vtadl.cli import main
from vtadl.models.reference_checkpoint import load_reference


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    torch.manual_seed(0)
    published = PublishedVtadl(size=32, patch=8, width=32, depth=1, heads=4, hidden=24, components=3, noise=0.0)
    folder = tmp_path_factory.mktemp("published")
    parts = {"VT_AE.pt": published.vt_ae, "G_estimate.pt": published.mdn}
    for name, part in parts.items():
        torch.save(part.state_dict(), folder / name)
    return [folder / name for name in parts]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=5, good=2, defective=2)


def test_the_run_scores_as_the_checkpoints_do_and_can_be_evaluated(files, category, tmp_path, capsys):
    run = tmp_path / "run"
    assert (
        main(["import-reference", *map(str, files), "--out", str(run), "--heads", "4", "--category", str(category)])
        == 0
    )
    out, err = capsys.readouterr()
    assert "images of 32, patches of 8, width 32, 1 blocks, 3 Gaussians" in out
    assert err == ""
    images = torch.rand(2, 3, 32, 32)
    loaded = vtadl.load(run, device="cpu").run
    network = load_reference(*files, heads=4)
    assert torch.equal(loaded.model.network.anomaly_map(images), network.anomaly_map(images))
    assert loaded.held_out.scores == ()
    assert loaded.held_out.colour_low < loaded.held_out.colour_high
    assert main(["eval", str(run), str(category), "--json", str(tmp_path / "metrics.json")]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["pixel_AUROC"] is not None
    assert main(["info", str(run)]) == 0


def test_colours_want_good_images_and_scores_do_not(files, tmp_path, capsys):
    assert main(["import-reference", *map(str, files), "--out", str(tmp_path / "run"), "--heads", "4"]) == 0
    assert "without --category the colours of heat maps have no scale" in capsys.readouterr().err
    assert np.isfinite(vtadl.load(tmp_path / "run", device="cpu").predict(good_image(0)).score)


@pytest.mark.parametrize(("heads", "message"), [("3", "multiple of model.heads"), ("0", "model.heads is 0")])
def test_heads_that_do_not_fit_are_a_line(files, tmp_path, capsys, heads, message):
    assert main(["import-reference", *map(str, files), "--out", str(tmp_path / "run"), "--heads", heads]) != 0
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_swapped_pair_is_refused_and_nothing_is_written(files, tmp_path, capsys):
    assert main(["import-reference", *map(str, reversed(files)), "--out", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()
