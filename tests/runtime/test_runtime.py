"""The runtime: without torch, in a moment, and never fooled by a damaged or hostile export."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from helpers.categories import defective_image, good_image
from helpers.exports import card_for, tiny_run
from vtadl.errors import BundleError, DataError, DependencyError, VtadlWarning
from vtadl.export.export import export_run
from vtadl.runtime import load
from vtadl.runtime.backends import OPENERS
from vtadl.runtime.cli import main

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    run = tiny_run(root, "memory")
    run = dataclasses.replace(run, card=card_for(run, 1.5 * max(run.held_out.scores)))
    export_run(run, root / "onnx", to="onnx", images=[good_image(60)])
    return root / "onnx"


@pytest.fixture
def export(made, tmp_path):
    return shutil.copytree(made, tmp_path / "onnx")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(good_image(70)).save(folder / "good.png")
    Image.fromarray(defective_image(71)[0]).save(folder / "worse.png")
    return folder


def python(code, *, path=(), **environment):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE / "src"), *path]), **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def change_manifest(export, **values):
    path = export / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def replace_model(export, content):
    (export / "model.onnx").write_bytes(content)
    import hashlib

    change_manifest(export, files={"model.onnx": hashlib.sha256(content).hexdigest()})


def test_nothing_of_torch_is_imported(export, images):
    code = f"""
import json, sys
for name in ("torch", "scipy", "safetensors", "tomli_w", "tqdm", "onnx"):
    sys.modules[name] = None  # importing it fails
import vtadl.runtime
prediction = vtadl.runtime.load({str(export)!r}).predict({str(images / "worse.png")!r})
allowed = {{"PIL", "numpy", "onnxruntime", "vtadl"}}
print(json.dumps([prediction.score, prediction.verdict, prediction.regions[0].area > 20]))
"""
    score, verdict, outlined = json.loads(python(code))
    assert score == pytest.approx(load(export).predict(images / "worse.png").score, rel=1e-5)
    assert verdict == "defective" and outlined


def test_pixels_and_files_give_the_same(export, images):
    detector = load(export)
    from_file, from_pixels = detector.predict(images / "good.png"), detector.predict(good_image(70))
    assert np.array_equal(from_file.anomaly_map, from_pixels.anomaly_map)
    assert from_file.verdict == "good" and from_file.regions == ()
    with pytest.raises(DataError, match="expected an image of shape"):
        detector.predict(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(DataError, match="does not exist"):
        detector.predict(images / "none.png")


def test_the_program_prints_a_line_an_image(export, images, capsys):
    assert main([str(export), str(images), "--threads", "1"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["verdict"] for row in rows] == ["good", "defective"]
    assert rows[1]["file"] == str(images / "worse.png") and rows[1]["regions"][0]["score"] == rows[1]["score"]
    (images / "bad.png").write_text("holiday notes")
    assert main([str(export), str(images)]) == 1
    out, err = capsys.readouterr()
    assert "is not an image" in json.loads(out.splitlines()[0])["error"] and "1 files" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_row_in_hand(export, images, tmp_path, number):
    many = tmp_path / "many"
    many.mkdir()
    for copy in range(500):
        os.link(images / "good.png", many / f"{copy:03}.png")
    command = [sys.executable, "-c", "import sys; from vtadl.runtime.cli import main; sys.exit(main())"]
    variables = {**os.environ, "PYTHONPATH": str(SOURCE / "src")}
    with subprocess.Popen(
        [*command, export, many], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    ) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(number)
        rest, err = process.communicate(timeout=60)
    rows = [json.loads(line) for line in ("".join(lines) + rest).splitlines()]
    assert process.returncode == 130
    assert 3 <= len(rows) < 500 and all(row["verdict"] == "good" for row in rows)
    assert err == f"vtadl-runtime: interrupted after {len(rows)} of 500 images; their rows are whole\n"


def test_a_picture_unlike_the_training_images_is_warned_of_once(export, tmp_path, capsys):
    new = tmp_path / "new"
    new.mkdir()
    Image.fromarray(good_image(70)).save(new / "0.png")
    for name in ("1.png", "2.png"):
        Image.fromarray(good_image(71)[:, :30, 0].astype(np.uint16) * 16).save(new / name)
    assert main([str(export), str(new)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    start = f"vtadl-runtime: warning: '{new / '1.png'}' is "
    assert [line.partition(":")[2].rpartition(": scores")[0] for line in err.splitlines()] == [
        f"{start}{words}".partition(":")[2]
        for words in (
            "30 pixels wide, the training images are 72 to 72",
            "of another aspect ratio, 0.42, the training images have 1.00 to 1.00",
            "of 16 bits a channel, the training images have 8",
            "grey, the training images are in colour",
            f"far darker: its values reach {16 * int(good_image(71)[:, :30, 0].max())} of 65535",
        )
    ]
    with pytest.warns(VtadlWarning, match="'the image' is grey, the training images are in colour"):
        load(export).predict(good_image(70).mean(2).astype(np.uint8))
    # What was exported before says nothing of its training images.
    manifest = json.loads((export / "manifest.json").read_text())
    del manifest["training_images"]
    (export / "manifest.json").write_text(json.dumps(manifest))
    assert main([str(export), str(new)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["NOWHERE", "IMAGES"], 1, "no export at"),
        (["EXPORT", "NOWHERE"], 1, "does not exist"),
        (["EXPORT", "IMAGES", "--threads", "0"], 2, "whole number"),
    ],
)
def test_wrong_calls_say_what_is_right(export, images, tmp_path, capsys, arguments, code, message):
    names = {"EXPORT": str(export), "IMAGES": str(images), "NOWHERE": str(tmp_path / "nowhere")}
    try:
        found = main([names.get(word, word) for word in arguments])
    except SystemExit as exit_:
        found = exit_.code
    assert found == code
    assert message in capsys.readouterr().err


def test_a_model_gets_as_many_threads_as_the_process_may_use(export, monkeypatch):
    told = []
    monkeypatch.setitem(OPENERS, "onnx", lambda files, threads: told.append(threads))
    monkeypatch.setenv("VTADL_THREADS", "3")
    load(export)
    load(export, threads=2)
    assert told == [3, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "upgrade vtadl"),
        ({"format": "1"}, "format is 1"),
        ({"format": True}, "whole number"),
        ({"image_size": -5}, "image_size is -5"),
        ({"input_size": [64, 0]}, "input_size is .64, 0."),
        ({"input_size": 64}, "input_size is 64"),
        ({"input_size": [64]}, "two whole numbers"),
        ({"colour_low": None}, "colour_low"),
        ({"colour_high": "red"}, "colour_high"),
        ({"runtime": "tensorrt"}, "expected one of: onnx, openvino"),
        ({"precision": "int8"}, "expected one of: float32; .*run vtadl export again"),
        ({"preset": 3}, "preset is no text"),
        ({"files": {"../../model.onnx": "0"}}, "checksums of model.onnx"),
        ({"files": {"model.onnx": "0" * 64}}, "its checksum differs"),
        ({"agreement": []}, "agreement"),
        ({"training_images": []}, "the training images is damaged"),
        ({"training_images": {"bits": [8]}}, "the training images is damaged"),
        ({"more": 1}, "an object with the keys"),
        ({"weights_sha256": "0" * 64}, "belongs to a detector with other weights"),
    ],
)
def test_manifests_that_cannot_be_are_refused(export, values, message):
    change_manifest(export, **values)
    with pytest.raises(BundleError, match=message):
        load(export)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "card.json"])
@pytest.mark.parametrize("damage", ["empty", "half", "binary", "folder", "pipe", "huge"])
def test_every_damage_to_every_file_is_a_line(export, name, damage):
    path = export / name
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "huge":
        path.touch()
        os.truncate(path, 10 * 2**30)
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "binary": b"\xff\x00" * 50}[damage])
    with pytest.raises(BundleError) as caught:
        load(export)
    assert len(str(caught.value).splitlines()) == 1 and name in str(caught.value)


def external_weights(model, location):
    """A model that reads its first weights from a file elsewhere."""
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    return model


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "secret.bin"])
def test_a_model_cannot_read_other_files(export, tmp_path, location, monkeypatch):
    (tmp_path / "secret.bin").write_bytes(bytes(10_000_000))
    (export / "secret.bin").write_bytes(bytes(10_000_000))
    monkeypatch.chdir(export)
    replace_model(export, external_weights(onnx.load(export / "model.onnx"), location).SerializeToString())
    with pytest.raises(BundleError, match=r"model.onnx' is damaged"):
        load(export)


def test_models_of_another_kind_are_refused(export):
    model = onnx.load(export / "model.onnx")
    shapeless = onnx.ModelProto.FromString(model.SerializeToString())
    next(node for node in shapeless.graph.node if node.op_type == "Conv").op_type = "LoadLibrary"
    replace_model(export, shapeless.SerializeToString())
    with pytest.raises(BundleError, match="is damaged"):
        load(export)
    renamed = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (uint8[h, w, c] image) => (float[c] anomaly_map) '
        "{ f = Cast <to = 1> (image) axes = Constant <value_ints = [0, 1]> () "
        "anomaly_map = ReduceSum <keepdims = 0> (f, axes) }"
    )
    replace_model(export, renamed.SerializeToString())
    with pytest.raises(DataError, match="no anomaly map"):
        load(export).predict(good_image(72))


def test_weights_that_are_not_finite_are_an_error_not_a_verdict(export):
    model = onnx.load(export / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
            values = onnx.numpy_helper.to_array(tensor) * np.nan
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    replace_model(export, model.SerializeToString())
    with pytest.raises(DataError, match="no anomaly map of finite numbers"):
        load(export).predict(good_image(73))


def test_the_extra_is_named_where_a_program_is_missing(export, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"pip install 'vtadl\[runtime\]'"):
        load(export)


@pytest.mark.slow
def test_in_an_environment_without_torch(export, images, tmp_path):
    """A virtual environment with the three packages alone, installed by pip from this checkout."""
    venv.create(tmp_path / "venv", with_pip=True)
    tools = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(tools / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "onnxruntime", "numpy", "pillow"], check=True)
    subprocess.run([*pip, "--no-deps", str(SOURCE)], check=True)
    installed = subprocess.run([*pip[:3], "list"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in installed
    done = subprocess.run(
        [str(tools / "vtadl-runtime"), str(export), str(images)], capture_output=True, text=True, check=True, cwd=images
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["verdict"] for row in rows] == ["good", "defective"]
    expected = load(export).predict(images / "worse.png")
    assert rows[1]["score"] == pytest.approx(expected.score, rel=1e-5)
