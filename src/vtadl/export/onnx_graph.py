"""A detector as one ONNX graph: from an image's pixels, at any size, to its anomaly map at that size.

    image      uint8 (H, W, 3), RGB; or (H, W, 6), the little-endian bytes of 16-bit RGB
    anomaly_map  float32 (H, W)

Three graphs are joined: resizing the image, the detector as torch exports it, resizing the map. ONNX's antialiased
``Resize`` agrees in float32 with `vtadl.data.resizing.resize_map` to a few parts in 100,000 even on noise.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vtadl.data.roi import blanked
from vtadl.errors import optional
from vtadl.runs.run import Run

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""The first with antialiased ``Resize``."""
IR_VERSION = 10

# Resizing is linear, so the bytes of 16-bit values are resized apart and joined when they are few.
_HEAD = """
<ir_version: {ir}, opset_import: ["": {opset}]>
head (uint8[height, width, bytes] image) => (float[1, 3, {height}, {width}] images, int64[2] size)
<
    int64[1] one_image = {{1}}, int64[2] own = {{{height}, {width}}},
    int64[1] front = {{0}}, int64[1] byte_axis = {{2}},
    int64[5] by_channel = {{1, 3, -1, {height}, {width}}}, int64[4] as_column = {{1, -1, 1, 1}},
    int64 zero = {{0}}, int64 one = {{1}}, float base = {{256.0}}, float lowest = {{1.0}}
>
{{
    size = Shape <start = 0, end = 2> (image)
    image_CHW = Transpose <perm = [2, 0, 1]> (image)
    planes_1CHW = Unsqueeze (image_CHW, front)
    floats_1CHW = Cast <to = 1> (planes_1CHW)
    planes = Shape <start = 2, end = 3> (image)
    resized_shape = Concat <axis = 0> (one_image, planes, own)
    resized_1CSS = Resize <mode = "linear", antialias = 1, exclude_outside = 1> (floats_1CHW, , , resized_shape)
    digits_13KSS = Reshape (resized_1CSS, by_channel)
    count_1 = Shape <start = 2, end = 3> (digits_13KSS)
    count = Squeeze (count_1, front)
    places_K = Range (zero, count, one)
    exponents_K = Cast <to = 1> (places_K)
    weights_K = Pow (base, exponents_K)
    weights_1K11 = Reshape (weights_K, as_column)
    weighted_13KSS = Mul (digits_13KSS, weights_1K11)
    values_13SS = ReduceSum <keepdims = 0> (weighted_13KSS, byte_axis)
    exponent = Cast <to = 1> (count)
    levels = Pow (base, exponent)
    white = Sub (levels, lowest)
    images = Div (values_13SS, white)
}}
"""

_TAIL = """
<ir_version: {ir}, opset_import: ["": {opset}]>
tail (float[1, {height}, {width}] map, int64[2] own_size) => (float[height, width] anomaly_map)
<int64[2] one_plane = {{1, 1}}, int64[1] foremost = {{0}}, int64[2] foremost_two = {{0, 1}}>
{{
    map_11SS = Unsqueeze (map, foremost)
    own_shape = Concat <axis = 0> (one_plane, own_size)
    map_11HW = Resize <mode = "linear", antialias = 1, exclude_outside = 1> (map_11SS, , , own_shape)
    anomaly_map = Squeeze (map_11HW, foremost_two)
}}
"""


def build_graph(run: Run) -> "ModelProto":
    """A detector, on the CPU, as an ONNX model with its weights inside.

    Raises:
        DependencyError: the packages for exporting are not installed.
    """
    with optional("exporting", "onnx"):
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter asks for it
        from onnx import compose, parser

    values = {"ir": IR_VERSION, "opset": OPSET, "height": run.input_size[0], "width": run.input_size[1]}
    head, tail = (parser.parse_model(text.format_map(values)) for text in (_HEAD, _TAIL))
    core = compose.add_prefix(_exported(run), "core/")
    joined = compose.merge_models(head, core, [("images", "core/images")])
    joined = compose.merge_models(joined, tail, [("core/map", "map"), ("size", "own_size")])
    joined.graph.name = "vtadl"
    joined.producer_name = "vtadl"
    _forget_origins(joined)
    onnx.checker.check_model(joined)
    return joined


class _Core(nn.Module):
    """What `vtadl.inference.predict` does with a resized image."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model = run.model
        self.roi_mask = run.roi_mask

    def forward(self, images_B3HW: Tensor) -> Tensor:
        maps_BHW: Tensor = self.model.anomaly_map(blanked(images_B3HW, self.roi_mask))  # type: ignore[operator]
        return maps_BHW


def _exported(run: Run) -> "ModelProto":
    """From a resized image in [0, 1], ``images`` (1, 3, H, W), to its ``map`` (1, H, W)."""
    with _quiet():
        program = torch.onnx.export(
            _Core(run).eval(),
            (torch.zeros(1, 3, *run.input_size),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["map"],
            verbose=False,
        )
    assert program is not None
    exported = program.model_proto
    exported.ir_version = IR_VERSION
    return exported


def _forget_origins(model: "ModelProto") -> None:
    """Drop what the exporter notes of each node's source: among it stack traces with this machine's paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's chatter, of which nothing concerns the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
