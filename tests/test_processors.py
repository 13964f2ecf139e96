"""One machine stands for many: the same tests, and the same verdicts, with the instructions that others have."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.categories import defective_image, good_image
from helpers.exports import card_for, tiny_run
from vtadl.cli import main
from vtadl.runs.processor import processor
from vtadl.runs.run import load_run, save_run

TESTS = Path(__file__).parent
OTHERS = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "default": {"ATEN_CPU_CAPABILITY": "default"},
}
"""How torch's own kernels, and oneDNN beneath torch and OpenVINO, are told to do with less than the processor has.

Of oneDNN less than AVX2 cannot be asked for: OpenVINO, which has it too, mixes it with instructions of its own choice.
"""
NATIVE = [TESTS / name for name in ("nn", "density")]

RUNTIME = "import sys; from vtadl.runtime.cli import main; sys.exit(main())"

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="instructions of other processors"
)


def python(name, *arguments):
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**variables, **OTHERS[name]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", OTHERS)
def test_native_arithmetic_agrees_there_too(name):
    options = ("-m", "native and not slow", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert " passed" in python(name, "-m", "pytest", *options, *NATIVE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with thresholds, and a folder of good and defective images."""
    root = tmp_path_factory.mktemp("processors")
    run = tiny_run(root, "gaussian")
    worst = max(run.held_out.scores)
    save_run(dataclasses.replace(run, card=card_for(run, 1.5 * worst)), root / "calibrated")
    for to in ("onnx", "openvino"):
        words = ["export", str(root / "calibrated"), "--to", to, "--images", str(root / "stripes/train/good")]
        assert main([*words, "--out", str(root / to)]) == 0
    (root / "new").mkdir()
    for number in range(4):
        Image.fromarray(good_image(50 + number)).save(root / f"new/good{number}.png")
        Image.fromarray(defective_image(60 + number)[0]).save(root / f"new/defective{number}.png")
    return root


def rows(folder):
    return rows_of((folder / "predictions.jsonl").read_text())


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_says_on_what_it_was_trained(trained, capsys):
    recorded = json.loads((trained / "run/times.json").read_text())["processor"]
    assert recorded == processor() == load_run(trained / "run").times["processor"]
    assert recorded["capability"] == torch.backends.cpu.get_cpu_capability()
    assert main(["info", str(trained / "run")]) == 0
    assert f"processor   {recorded['capability']}, of " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor: 0\nflags\t\t: fpu avx2 avx512f\nflags\t\t: avx2\n", ["avx2", "avx512f"]),
        ("Features\t: fp asimd sve\n", ["asimd", "sve"]),
        ("", []),
    ],
)
def test_flags_are_those_of_the_system(tmp_path, text, flags):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo")["flags"] == flags
    assert processor(tmp_path / "none")["flags"] == []


@pytest.mark.parametrize("name", OTHERS)
def test_another_processor_comes_to_the_same_verdicts(trained, tmp_path, name):
    images = str(trained / "new")
    assert main(["predict", str(trained / "calibrated"), images, "--out", str(tmp_path / "here"), "--no-overlays"]) == 0
    python(
        *(name, "-m", "vtadl", "predict", trained / "calibrated", images),
        *("--out", tmp_path / "there", "--no-overlays", "--no-maps"),
    )
    assert_alike(rows(tmp_path / "here"), rows(tmp_path / "there"))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_export_comes_to_the_same_verdicts_there(trained, tmp_path, name, to):
    images = str(trained / "new")
    assert main(["predict", str(trained / "calibrated"), images, "--out", str(tmp_path), "--no-overlays"]) == 0
    assert_alike(rows(tmp_path), rows_of(python(name, "-c", RUNTIME, trained / to, images)))


def assert_alike(here, there):
    assert {row["verdict"] for row in here} == {"good", "defective"}
    for ours, theirs in zip(here, there, strict=True):
        assert (ours["file"], ours["verdict"]) == (theirs["file"], theirs["verdict"])
        # As far as an exported model may be off, which sums in another order too.
        assert theirs["score"] == pytest.approx(ours["score"], rel=1e-4)
