"""An ONNX graph of `vtadl.export.onnx_graph` as an OpenVINO model."""

from typing import TYPE_CHECKING

import numpy as np

from vtadl.errors import optional
from vtadl.runtime.telemetry import forbid_telemetry

if TYPE_CHECKING:
    from openvino import Model


def convert(onnx_model: bytes) -> "Model":
    """Read the graph, and give it the one resampling back.

    OpenVINO reads ONNX's antialiased ``Resize`` as an interpolation that does not antialias, but has one of its own
    that follows Pillow.

    Raises:
        DependencyError: OpenVINO is not installed.
    """
    forbid_telemetry()
    with optional("--to openvino", "openvino"):
        import openvino
        from openvino import opset13

    model = openvino.Core().read_model(onnx_model)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Interpolate" and node.get_attributes()["antialias"]:
            size = opset13.gather(node.input_value(1), np.array([2, 3]), 0)
            resized = opset13.interpolate(node.input_value(0), size, "bilinear_pillow", "sizes", axes=np.array([2, 3]))
            node.output(0).replace(resized.output(0))
    model.validate_nodes_and_infer_types()
    return model
