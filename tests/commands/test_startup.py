"""What is only looked up is answered at once: no torch, no SciPy, no NumPy is loaded for it."""

import json
import subprocess
import sys

import pytest

from helpers.categories import make_category
from vtadl.cli import main

PROBE = """
import sys
from vtadl.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
import json
print("\\n" + json.dumps([code, [name for name in ("torch", "scipy", "numpy", "PIL", "tqdm") if name in sys.modules]]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("light")
    category = make_category(folder / "stripes", train=10, good=1, defective=1)
    size = ["--preset", "gaussian", "--set", "model.image_size=64", "--device", "cpu"]
    assert main(["train", str(category), "--out", str(folder / "run"), *size]) == 0
    assert main(["calibrate", str(folder / "run"), "--threshold", "3"]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (0, []),
        (0, ["--help"]),
        (0, ["--version"]),
        (0, ["train", "--help"]),
        (0, ["presets"]),
        (0, ["info", "RUN"]),
        (1, ["info", "nowhere"]),
        (1, ["predict", "nowhere", "new"]),
        (1, ["calibrate", "nowhere"]),
        (1, ["eval", "nowhere", "parts"]),
        (2, ["predict", "RUN", "new", "--watch"]),
        (2, ["train", "parts", "--preset", "gausian"]),
        (2, ["train", "parts", "--set", "model.image_sise=3"]),
        (2, ["fly"]),
    ],
)
def test_what_is_looked_up_loads_nothing_heavy(run, arguments, code):
    filled = [str(run) if word == "RUN" else word for word in arguments]
    done = subprocess.run([sys.executable, "-c", PROBE, *filled], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [code, []], done.stderr
