"""A detector in eight bits: its density and its thresholds are those of the rounded features."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from helpers.categories import defective_image, good_image, make_category
from helpers.exports import card_for, tiny_run
from vtadl.calibration.calibrate import Request, calibrate
from vtadl.calibration.images import gather
from vtadl.calibration.quantization import quantise_run
from vtadl.cli import main
from vtadl.data.images import read_image
from vtadl.data.layouts import read_category
from vtadl.errors import ConfigError, DataError
from vtadl.export.export import INT8_TOLERANCE, export_run, sample_images
from vtadl.inference.predict import predict_image
from vtadl.runs.run import save_run, weights_sha256
from vtadl.runtime import load

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["gaussian", "memory"])
def made(request, tmp_path_factory):
    """A calibrated run, and the folder of what it was trained on."""
    root = tmp_path_factory.mktemp("made")
    run = tiny_run(root, request.param)
    rates = Request(false_reject_rate=0.5)
    return dataclasses.replace(run, card=calibrate(run, gather(run, CPU, warn=print), rates)), root / "stripes"


@pytest.fixture(scope="module")
def quantised(made):
    return quantise_run(made[0], read_category(made[1]))


def test_everything_after_the_backbone_is_made_again(made, quantised):
    before, after = made[0], quantised.run
    assert weights_sha256(after.model) != weights_sha256(before.model) == made[0].card.weights_sha256
    assert after.held_out.sha256 == before.held_out.sha256
    score = predict_image(after, read_image(quantised.held_out[0]), CPU).score
    assert after.held_out.scores == (pytest.approx(score),) != before.held_out.scores
    assert after.held_out.scores[0] == pytest.approx(before.held_out.scores[0], rel=0.3)
    assert after.card.threshold == after.held_out.scores[0]
    assert after.card.weights_sha256 == weights_sha256(after.model)
    assert after.card.notes[0].startswith("In eight bits (OpenVINO)")
    # The rounded features of good images are good to the density that was fitted to them.
    image, _ = defective_image(70)
    good, defective = (predict_image(after, one, CPU).score for one in (good_image(71), image))
    assert defective > 1.5 * good


def test_the_exported_model_is_what_was_calibrated(quantised, tmp_path):
    images = sample_images(quantised.held_out)
    export_run(quantised.run, tmp_path / "int8", to="openvino", images=images, int8=quantised.ranges)
    detector = load(tmp_path / "int8", threads=1)
    assert detector.manifest.precision == "int8"
    assert detector.manifest.agreement["tolerance"] == INT8_TOLERANCE
    assert detector.card == quantised.run.card
    assert (tmp_path / "int8/model.xml").read_text().count('element_type="i8"') == 30  # of 33 convolutions
    for image in (good_image(72), good_image(73, 90)[:50], defective_image(74)[0]):
        ours, theirs = predict_image(quantised.run, image, CPU), detector.predict(image)
        assert np.abs(ours.anomaly_map - theirs.anomaly_map).max() <= INT8_TOLERANCE * ours.score
        assert theirs.verdict == detector.card.verdict(theirs.score)


def test_what_cannot_be_quantised_says_why(made, tmp_path):
    run, root = made
    paper = dataclasses.replace(run, model=torch.nn.Linear(1, 1))
    with pytest.raises(ConfigError, match="export it without --int8"):
        quantise_run(paper, read_category(root))
    context = tiny_run(tmp_path / "context", "context")
    with pytest.raises(ConfigError, match=r"presets gaussian and memory.*preset 'context': export it without --int8"):
        quantise_run(context, read_category(tmp_path / "context/stripes"))
    by_hand = dataclasses.replace(run, card=card_for(run, 2.0))
    with pytest.raises(ConfigError, match="first give vtadl calibrate with --false-reject-rate"):
        quantise_run(by_hand, read_category(root))
    other = make_category(tmp_path / "other", train=11)
    with pytest.raises(DataError, match=r"does not hold the 10 images.*--int8 takes the category"):
        quantise_run(run, read_category(other))


def test_the_command(tmp_path, capsys):
    run = tiny_run(tmp_path, "memory")
    save_run(run, tmp_path / "saved")
    assert main(["export", str(tmp_path / "saved"), "--to", "onnx", "--int8", str(tmp_path / "stripes")]) == 2
    assert "--int8 goes with --to openvino" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "saved"), "--to", "openvino", "--int8", str(tmp_path / "stripes")]) == 0
    out = capsys.readouterr().out
    assert "to openvino in eight bits" in out and "agrees with its calibration on 1 images" in out
    folder = tmp_path / "saved/openvino-int8"
    assert json.loads((folder / "manifest.json").read_text())["precision"] == "int8"
    assert not (folder / "card.json").exists() and "verdicts stay null" in out
    assert json.loads((folder / "times.json").read_text())["milliseconds"].keys() == {"openvino"}
