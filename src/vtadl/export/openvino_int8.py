"""Convolutions of an OpenVINO model in eight bits: which range each one's input has, and the model that uses it.

Inputs are quantised to 256 levels of one scale each, weights to 255 levels of one scale an output channel; sums, biases
and everything that is no convolution stay in float32. A convolution is known by its weights, so that ranges found in
one model hold in another that contains it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from openvino import Model

INPUT_LEVELS = 256
HIGHEST_WEIGHT = 127

Ranges = Mapping[str, tuple[float, float]]
"""The lowest and the highest input of each convolution, by the SHA-256 of its weights."""


def input_ranges(model: "Model", inputs: Iterable[NDArray[np.float32]]) -> dict[str, tuple[float, float]]:
    """Run a model of one input, and note what its convolutions get.

    Args:
        model: its convolutions' weights are constants.
        inputs: what to run it on, one array at least.
    """
    import openvino
    from openvino import opset13

    found = list(_convolutions(model))
    axes = np.arange(4)
    ends = [
        reduce(node.input_value(0), axes) for reduce in (opset13.reduce_min, opset13.reduce_max) for node, _ in found
    ]
    probe = openvino.Model([opset13.result(end) for end in ends], model.get_parameters(), "ranges")
    compiled = openvino.Core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen = np.array([[float(value) for value in compiled([one]).to_tuple()] for one in inputs])
    lows, highs = seen[:, : len(found)].min(axis=0), seen[:, len(found) :].max(axis=0)
    names = [_name(weights) for _, weights in found]
    return {name: (float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def quantise(model: "Model", ranges: Ranges) -> None:
    """Let the convolutions that have a range work in eight bits; each of the ranges must have its convolution."""
    from openvino import opset13

    known = [(node, weights) for node, weights in _convolutions(model) if _name(weights) in ranges]
    assert {_name(weights) for _, weights in known} == ranges.keys(), "the model lacks a convolution that has a range"
    for node, weights in known:
        low, high = (
            opset13.constant(np.full((1, 1, 1, 1), end, np.float32)) for end in _levels(*ranges[_name(weights)])
        )
        rounded = opset13.fake_quantize(node.input_value(0), low, high, low, high, INPUT_LEVELS)
        node.input(0).replace_source_output(rounded.output(0))
        grouped = node.get_type_name() == "GroupConvolution"  # weights (groups, outputs, inputs, height, width)
        scale = (
            np.abs(weights).max(axis=tuple(range(2 if grouped else 1, weights.ndim)), keepdims=True) / HIGHEST_WEIGHT
        )
        scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
        integers = opset13.constant(np.rint(weights / scale).astype(np.int8))
        scaled = opset13.multiply(opset13.convert(integers, "f32"), opset13.constant(scale))
        node.input(1).replace_source_output(scaled.output(0))
    model.validate_nodes_and_infer_types()


def _levels(low: float, high: float) -> tuple[float, float]:
    """The first and the last level: from zero where nothing is negative, else about zero, which is a level itself."""
    if low >= 0:
        return 0.0, max(high, 1e-6)
    top = max(-low * 127 / 128, high)
    return -top * 128 / 127, top


def _convolutions(model: "Model") -> Iterator[tuple[Any, NDArray[np.float32]]]:
    """Each convolution whose weights are a constant, with them."""
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        shape, source = tuple(node.input_value(1).get_shape()), node.input_value(1).get_node()
        if source.get_type_name() == "Reshape":
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant":
            yield node, np.asarray(source.data, np.float32).reshape(shape)


def _name(weights: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(weights).tobytes()).hexdigest()
