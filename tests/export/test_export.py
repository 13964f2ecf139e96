"""Exported models say what the detector says, for every preset and kind of image; one that does not is not kept."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

import vtadl.export.export
from helpers.categories import defective_image, good_image
from helpers.exports import TINY, card_for, tiny_run
from vtadl.cli import main
from vtadl.errors import ExportError
from vtadl.export.export import TOLERANCE, compare, export_run, sample_images
from vtadl.inference.predict import predict_image
from vtadl.runs.run import save_run
from vtadl.runtime import load

CPU = torch.device("cpu")


def noise(shape, kind=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, (*shape, 3), dtype=kind)


IMAGES = {
    "the model's own size": noise((64, 64)),
    "one pixel off": noise((65, 63)),
    "larger, wide": noise((150, 401)),
    "smaller": noise((17, 30)),
    "a pixel": noise((1, 1)),
    "a line": noise((1, 90)),
    "grey at 16 bits": np.repeat(noise((80, 70), np.uint16)[..., :1], 3, axis=2),
    "colour at 16 bits": noise((100, 33), np.uint16),
    "good": good_image(50),
    "defective": defective_image(51)[0],
    "not contiguous": good_image(52, 90)[::2, ::-1],
}


@pytest.fixture(scope="module", params=TINY)
def run(request, tmp_path_factory):
    made = tiny_run(tmp_path_factory.mktemp("made"), request.param)
    return dataclasses.replace(made, card=card_for(made, predict_image(made, good_image(50), CPU).score * 1.1))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    export_run(run, folder, to="onnx", images=[good_image(60)])
    return folder


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("made"), "gaussian")


def assert_same(ours, theirs):
    scale = np.abs(ours.anomaly_map).max()
    assert theirs.anomaly_map.shape == ours.anomaly_map.shape and theirs.anomaly_map.dtype == np.float32
    assert np.abs(ours.anomaly_map - theirs.anomaly_map).max() <= TOLERANCE * scale
    assert abs(ours.score - theirs.score) <= TOLERANCE * scale
    assert theirs.score == theirs.anomaly_map.max()
    assert (theirs.verdict, theirs.p_value) == (ours.verdict, ours.p_value)
    assert [region.box for region in theirs.regions] == [region.box for region in ours.regions]


@pytest.mark.filterwarnings("ignore::vtadl.errors.VtadlWarning")  # of sizes far from the training images'
@pytest.mark.parametrize("name", IMAGES)
def test_onnx_agrees_on_every_kind_of_image(run, exported, name):
    assert_same(predict_image(run, IMAGES[name], CPU), load(exported, threads=1).predict(IMAGES[name]))


def test_an_export_says_what_it_is(run, exported):
    assert sorted(p.name for p in exported.iterdir()) == ["card.json", "manifest.json", "model.onnx", "times.json"]
    manifest = load(exported).manifest
    assert (manifest.preset, manifest.category, manifest.image_size) == (run.config.preset, "stripes", 64)
    assert manifest.agreement["images"] == 1 and manifest.agreement["anomaly_map"] <= TOLERANCE
    assert json.loads((exported / "times.json").read_text())["milliseconds"].keys() == {"onnx", "pytorch"}
    assert str(exported.parent).encode() not in (exported / "model.onnx").read_bytes()
    assert b".py" not in (exported / "model.onnx").read_bytes()


def test_a_manifest_of_before_is_of_a_square(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "before")
    path = tmp_path / "before/manifest.json"
    values = json.loads(path.read_text())
    assert values.pop("input_size") == [64, 64]
    path.write_text(json.dumps(values))
    assert load(tmp_path / "before").manifest.input_size == (64, 64)


@pytest.mark.filterwarnings("ignore::vtadl.errors.VtadlWarning")
def test_openvino_agrees_too_and_keeps_to_the_region_of_interest(gaussian, tmp_path):
    roi_mask = np.zeros((40, 50), bool)
    roi_mask[5:30, 10:45] = True
    masked = dataclasses.replace(gaussian, roi_mask=roi_mask, card=card_for(gaussian, 2.0, 1.5))
    for to in ("onnx", "openvino"):
        export_run(masked, tmp_path / to, to=to, images=[good_image(60)])
        detector = load(tmp_path / to, threads=1)
        for image in IMAGES.values():
            if min(image.shape[:2]) > 1:  # the region vanishes in the others
                assert_same(predict_image(masked, image, CPU), detector.predict(image))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["corrected", "faithful"])
@pytest.mark.parametrize("objective", ["mse", "mse + vae", "vae + kl + nll", "mse + nll_reference", "vae_image"])
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_every_density_of_the_paper_model_exports(tmp_path, variant, objective, to):
    made = tiny_run(tmp_path, "paper", f"model.variant={variant}", objective=objective)
    export_run(made, tmp_path / to, to=to, images=list(IMAGES.values()))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["nll", "mse", "kl + vae"])
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_every_density_of_a_context_exports(tmp_path, objective, to):
    made = tiny_run(tmp_path, "context", "model.mixtures=2", objective=objective)
    export_run(made, tmp_path / to, to=to, images=list(IMAGES.values()))


def test_a_model_that_disagrees_is_not_kept(gaussian, tmp_path, monkeypatch):
    real = vtadl.export.export.predict_image
    with pytest.raises(ExportError, match="at least one sample image"):
        export_run(gaussian, tmp_path / "onnx", to="onnx", images=[])
    monkeypatch.setattr(vtadl.export.export, "predict_image", lambda run, image, device: real(run, image // 2, device))
    with pytest.raises(ExportError, match=r"off by .* of the highest score on a sample image"):
        export_run(gaussian, tmp_path / "onnx", to="onnx", images=[good_image(60)])
    assert list(tmp_path.iterdir()) == []


def test_a_verdict_may_differ_only_at_its_threshold(gaussian):
    class Fixed:
        def __init__(self, verdict):
            self.verdict = verdict

        def predict(self, image):
            return dataclasses.replace(predict_image(judged, image, CPU), verdict=self.verdict)

    score = predict_image(gaussian, good_image(60), CPU).score
    judged = dataclasses.replace(gaussian, card=card_for(gaussian, 2 * score))
    with pytest.raises(ExportError, match="says 'defective' where PyTorch says 'good'"):
        compare(judged, Fixed("defective"), [good_image(60)])
    judged = dataclasses.replace(gaussian, card=card_for(gaussian, score * (1 + 0.5 * TOLERANCE)))
    assert compare(judged, Fixed("defective"), [good_image(60)])["images"] == 1


def test_made_images_are_of_several_kinds():
    images = list(sample_images(None))
    assert {image.dtype.name for image in images} == {"uint8", "uint16"}
    assert len({image.shape for image in images}) > 2


def test_a_folders_images_are_spread_over_it(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(vtadl.export.export, "SAMPLES", 3)
    for number in range(9):
        Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    assert [image[0, 0, 0] for image in sample_images(tmp_path)] == [0, 3, 6]


def test_the_command_exports_beside_the_run(gaussian, tmp_path, capsys):
    save_run(gaussian, tmp_path / "run")
    (tmp_path / "run/onnx").mkdir()
    (tmp_path / "run/onnx/manifest.json").write_text("{}")
    arguments = ["export", str(tmp_path / "run"), "--to", "onnx"]
    assert main(arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    out = capsys.readouterr().out
    assert "exported 'gaussian' to onnx" in out and "agrees with PyTorch on 6 images" in out
    assert "verdicts stay null" in out
    assert load(tmp_path / "run/onnx").predict(good_image(61)).verdict is None


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(run, exported, tmp_path):
    export_run(run, tmp_path / "again", to="onnx", images=[good_image(60)])
    for name in ("model.onnx", "manifest.json", "card.json"):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["RUN", "--to", "tensorrt"], 2, "choose from 'onnx', 'openvino'"),
        (["NOWHERE", "--to", "onnx"], 1, "no run at"),
        (["RUN", "--to", "onnx", "--images", "NOWHERE"], 1, "does not exist"),
        (["RUN"], 2, "--to"),
    ],
)
def test_wrong_calls_say_what_is_right(gaussian, tmp_path, capsys, arguments, code, message):
    save_run(gaussian, tmp_path / "run")
    names = {"RUN": str(tmp_path / "run"), "NOWHERE": str(tmp_path / "nowhere")}
    try:
        found = main(["export", *(names.get(word, word) for word in arguments)])
    except SystemExit as exit_:
        found = exit_.code
    assert found == code
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run/onnx").exists()
