"""OpenVINO reports to nobody, and forks no process of ours to do so."""

import subprocess
import sys
from importlib.metadata import distributions

import pytest

CODE = """
import os, sys, time
forks = []
os.fork = lambda: forks.append(1) or 10**9  # whoever calls it goes on as the parent
from vtadl.runtime.backends import open_openvino
try:
    open_openvino([b"", b""], 1)
except RuntimeError:
    pass
time.sleep(0.5)  # it is a thread that forks
print("openvino" in sys.modules, sys.modules["openvino_telemetry"], forks)
"""


def test_loading_an_openvino_model_forks_nothing():
    if not any(one.name == "openvino-telemetry" for one in distributions()):  # by import, other tests may forbid it
        pytest.skip("openvino-telemetry is not installed")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.stdout == "True None []\n", done.stderr
