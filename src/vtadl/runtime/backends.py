"""The programs that run a model: ONNX Runtime, and OpenVINO where it is asked for. Pixels in, anomaly map out."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.errors import optional
from vtadl.runtime.telemetry import forbid_telemetry

Session = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From the model's input to its output, both as in `vtadl.export.onnx_graph`."""

_ERRORS_ONLY = 3


def open_onnx(files: Sequence[bytes], threads: int) -> Session:
    """A session of ONNX Runtime on the CPU.

    Args:
        files: the one file of the model.
        threads: how many it may use.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        Exception: whatever it raises for a model that it cannot run.
    """
    with optional("an ONNX export", "runtime"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # A model's weights are inside it: one that names other files finds none here, where no file can be.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(files[0], options, providers=["CPUExecutionProvider"])

    def run(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        (anomaly_map,) = session.run(None, {"image": image})  # by any name: older exports call it score_map
        return np.asarray(anomaly_map, dtype=np.float32)

    return run


def open_openvino(files: Sequence[bytes], threads: int) -> Session:
    """A compiled model of OpenVINO on the CPU; as `open_onnx`, with two files."""
    forbid_telemetry()
    with optional("an OpenVINO export", "openvino"):
        import openvino
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(*files), "CPU", settings)

    def run(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(compiled({"image": image})[0], dtype=np.float32)

    return run


OPENERS = {"onnx": open_onnx, "openvino": open_openvino}
