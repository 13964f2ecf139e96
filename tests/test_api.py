"""The Python interface as a user meets it, on real files."""

import dataclasses
import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

import vtadl
from helpers.categories import defective_image, good_image, make_category
from vtadl.config.presets import preset_config
from vtadl.errors import BundleError, ConfigError, DataError, VtadlError

SMALL = {"image_size": 96}


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes")


@pytest.fixture(scope="module", params=["gaussian", "memory"])
def detector(request, category):
    return vtadl.train(category, preset=request.param, model=SMALL, device="cpu")


def test_a_defect_is_found_where_it_is(detector):
    image, mask = defective_image(300)
    prediction = detector.predict(image)
    assert prediction.anomaly_map.shape == mask.shape
    assert prediction.anomaly_map.dtype == np.float32
    assert prediction.score == prediction.anomaly_map.max()
    assert prediction.verdict is None
    assert mask[np.unravel_index(prediction.anomaly_map.argmax(), mask.shape)]
    assert prediction.score > 2 * detector.predict(good_image(301)).score


def test_a_folder_is_scored_file_by_file(detector, category):
    folder = category / "test"
    found = list(detector.predict_folder(folder))
    assert [path for path, _ in found] == sorted(folder.rglob("*.png"))
    for path, prediction in found:
        assert prediction.score == pytest.approx(detector.predict(path).score, rel=1e-5)
    with pytest.raises(DataError, match="nowhere"):
        next(detector.predict_folder("nowhere"))


def test_a_detector_says_what_it_is(detector):
    assert repr(detector) == f"<vtadl.Detector {detector.config.preset} of stripes, 96 x 96, not calibrated>"
    assert {"Detector", "train", "load", "evaluate"} <= set(dir(vtadl))


def test_a_prediction_is_shown_and_stored(detector):
    image, _ = defective_image(300)
    prediction = detector.predict(image)
    stored = json.loads(json.dumps(prediction.to_dict()))
    assert (stored["score"], stored["height"], stored["width"]) == (prediction.score, 72, 72)
    shown = prediction.overlay()
    assert shown.width > 2 * shown.height * 0.8  # the photo, the heat map and the scale
    assert Image.open(io.BytesIO(prediction._repr_png_())).size == shown.size
    bare = dataclasses.replace(prediction, picture=None)
    assert bare._repr_png_() is None
    with pytest.raises(DataError, match="keeps no photo"):
        bare.overlay()


def test_a_published_name_stands_for_its_preset(category):
    detector = vtadl.train(category, preset="PaDiM", model={"image_size": 64}, device="cpu")
    assert detector.config.preset == "gaussian"


def test_maps_come_back_at_each_images_own_size(detector):
    for height, width in ((40, 200), (131, 57), (72, 72)):
        image = np.asarray(Image.fromarray(good_image(5)).resize((width, height)))
        assert detector.predict(image).anomaly_map.shape == (height, width)


def test_grey_and_sixteen_bit_arrays(detector):
    image, _ = defective_image(306)
    expected = pytest.approx(detector.predict(image).score, rel=1e-4)
    assert detector.predict(image.astype(np.uint16) * 257).score == expected
    grey = image[..., 0]
    assert detector.predict(grey).score == detector.predict(np.repeat(grey[..., None], 3, 2)).score


@pytest.mark.parametrize(
    "wrong", [np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros(5, np.uint8), np.zeros((0, 5, 3), np.uint8)]
)
def test_other_arrays_are_refused(detector, wrong):
    with pytest.raises(DataError, match=r"expected an image of shape \(H, W, 3\)"):
        detector.predict(wrong)


def test_evaluation_of_an_easy_set(detector, category):
    report = vtadl.evaluate(detector, category)
    assert report.metrics["image_AUROC"] == 1.0
    assert report.metrics["pixel_AUPRO@0.3"] > 0.85
    content = report.to_json()
    assert {"image_AUROC", "pixel_AUPRO@0.05", "protocol", "timing"} <= content.keys()
    assert content["protocol"]["counts"] == {"good": 4, "defective": 4, "masks": 4, "skipped": 0}
    assert json.loads(json.dumps(content)) == content


def test_another_resolution_is_stated(detector, category):
    report = vtadl.evaluate(detector, category, resolution=36)
    assert report.protocol["resolution"] == 36
    assert report.protocol["mask_resampling"] == "nearest"
    assert report.metrics["pixel_AUPRO@0.3"] > 0.7


def test_without_masks_pixel_metrics_are_none(detector, tmp_path):
    report = vtadl.evaluate(detector, make_category(tmp_path / "bare", train=1, masks=False))
    assert report.metrics["image_AUROC"] == 1.0
    assert report.metrics["pixel_AUROC"] is None
    assert report.metrics["pixel_AUPRO@0.3"] is None


def test_saved_and_loaded_it_says_the_same_to_the_bit(detector, tmp_path):
    detector.save(tmp_path / "run")
    loaded = vtadl.load(tmp_path / "run", device="cpu")
    image, _ = defective_image(302)
    assert np.array_equal(loaded.predict(image).anomaly_map, detector.predict(image).anomaly_map)
    assert loaded.config == detector.config
    with pytest.raises(BundleError, match="exists already"):
        detector.save(tmp_path / "run")
    detector.save(tmp_path / "run", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_the_same_seed_gives_the_same_files(category, tmp_path):
    for name in ("a", "b"):
        vtadl.train(category, preset="memory", model={**SMALL, "size": 60}, seed=3, device="cpu").save(tmp_path / name)
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["config.toml", "run.json", "times.json", "weights.safetensors"]
    for name in names:
        if name != "times.json":
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_file_names_change_nothing(category, tmp_path):
    renamed = tmp_path / "stripes"
    for index, file in enumerate(sorted((category / "train/good").iterdir(), reverse=True)):
        target = renamed / "train/good" / f"part-{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    ours, theirs = (vtadl.train(c, preset="gaussian", model=SMALL, device="cpu").run for c in (category, renamed))
    assert ours.source.content_sha256 == theirs.source.content_sha256
    assert ours.held_out.scores == pytest.approx(theirs.held_out.scores, rel=1e-3)


def test_settings_come_by_name_or_whole(detector, category):
    again = vtadl.train(category, config=detector.config, seed=7, device="cpu")
    assert again.config == dataclasses.replace(detector.config, seed=7)
    assert isinstance(detector.config, vtadl.Config)


def test_a_few_images_work_with_a_warning(tmp_path):
    few = make_category(tmp_path / "few", train=3)
    with pytest.warns(UserWarning, match="only 3 good images"):
        detector = vtadl.train(few, preset="gaussian", model=SMALL, device="cpu")
    assert detector.run.held_out.scores == ()
    assert vtadl.evaluate(detector, few).metrics["image_AUROC"] == 1.0


def test_wrong_calls_say_what_is_right(category):
    with pytest.raises(ConfigError, match="unknown preset"):
        vtadl.train(category, preset="nope")
    with pytest.raises(ConfigError, match="multiple of 32"):
        vtadl.train(category, preset="gaussian", model={"image_size": 100})
    with pytest.raises(ConfigError, match=r"train: unknown key 'model.image_sise' \(did you mean 'image_size'\?\)"):
        vtadl.train(category, model={"image_sise": 96})
    with pytest.raises(ConfigError, match=r"train: training.steps is 'many'; expected int"):
        vtadl.train(category, preset="paper", training={"steps": "many"})
    with pytest.raises(ConfigError, match="a preset or a config; got both"):
        vtadl.train(category, preset="gaussian", config=preset_config("memory"))
    with pytest.raises(ConfigError, match="unknown device 'tpu'"):
        vtadl.train(category, device="tpu")
    with pytest.raises(DataError, match="nowhere"):
        vtadl.train("nowhere")
    with pytest.raises(BundleError, match="no run at 'nowhere'"):
        vtadl.load("nowhere")


def test_every_error_is_also_a_builtin():
    for error in VtadlError.__subclasses__():
        assert issubclass(error, (ValueError, RuntimeError, ImportError))


def test_the_package_has_no_other_names():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vtadl.nonsense


def test_whatever_one_has_of_an_image(detector, tmp_path):
    pixels, path = good_image(5), tmp_path / "part.png"
    Image.fromarray(pixels).save(path)
    expected = detector.predict(pixels).score
    with path.open("rb") as file:
        for image in (path, str(path), path.read_bytes(), file, Image.fromarray(pixels), Image.open(path)):
            assert detector.predict(image).score == expected
    grey = pixels[:, :, :1]
    assert detector.predict(grey).score == detector.predict(grey[:, :, 0]).score
    assert [one.score for one in detector.predict([path, pixels])] == [expected, expected]


def test_a_pillow_image_is_turned_upright_as_its_file_is(detector, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(good_image(5)[:40]).save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as image:
        found, expected = detector.predict(image), detector.predict(tmp_path / "turned.jpg")
    assert found.anomaly_map.shape == expected.anomaly_map.shape == (72, 40)
    assert found.score == expected.score


@pytest.mark.parametrize("wrong", [torch.zeros(3, 8, 8), None, 7, {"image": 1}, b"no image", [None]])
def test_what_is_no_image_is_refused_in_a_line(detector, wrong):
    with pytest.raises(DataError, match=r"expected (a path|PNG)"):
        detector.predict(wrong)


def test_a_process_forked_after_predicting_says_spawn(detector):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        detector.predict(good_image(1))
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                detector.predict(good_image(1))
            except ConfigError as error:
                os.write(send, str(error).encode())
            os._exit(0)
        os.close(send)
        with os.fdopen(receive, "rb") as file:
            said = file.read().decode()
        os.waitpid(child, 0)
        assert "spawn" in said
    finally:
        torch.set_num_threads(threads)


def test_a_pillow_image_of_several_is_refused_and_a_copy_of_one_taken(detector, tmp_path):
    frames = [Image.fromarray(good_image(number)) for number in (5, 6)]
    frames[0].save(tmp_path / "stack.tif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "stack.tif") as image:
        with pytest.raises(DataError, match=r"the Pillow image holds 2 pictures; .*give a copy\(\) of each"):
            detector.predict(image)
        image.seek(1)
        assert detector.predict(image.copy()).score == detector.predict(good_image(6)).score


def test_a_pillow_image_that_was_closed_is_one_line(detector, tmp_path):
    Image.fromarray(good_image(5)).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(DataError, match="the Pillow image cannot be decoded: "):
        detector.predict(image)


def test_any_array_of_the_right_pixels_and_any_path(detector, tmp_path):
    pixels = good_image(5)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = detector.predict(pixels).score
    (entry,) = os.scandir(tmp_path)
    assert detector.predict(entry).score == expected
    grey = pixels[:, :, 0]
    matrix = np.ndarray(grey.shape, np.uint8, grey.tobytes()).view(np.matrix)
    assert detector.predict(matrix).score == detector.predict(grey).score
    deep = grey.astype(np.uint16) * 257
    assert detector.predict(deep.astype(">u2")).score == detector.predict(deep).score
