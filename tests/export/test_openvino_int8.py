"""Eight bits as OpenVINO computes them, against the same rounding written out in NumPy and torch."""

import numpy as np
import openvino
import pytest
import torch
import torch.nn.functional as F
from openvino import opset13

from vtadl.export.openvino_int8 import input_ranges, quantise


def rounded(x, low, high):
    step = (high - low) / 255
    return np.round((np.clip(x, low, high) - low) / step) * step + low


def rounded_weights(weights):
    scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    return np.round(weights / scale) * scale


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    # Channels of very different sizes, as a folded batch normalisation leaves them.
    return rng.normal(size=(4, 2, 3, 3)) * np.array([0.01, 1, 5, 100])[:, None, None, None], rng.normal(
        size=(4, 1, 3, 3)
    )


@pytest.fixture
def model(weights):
    """A convolution, ReLU, and a convolution by channel."""
    first, second = (part.astype(np.float32) for part in weights)
    images = opset13.parameter([1, 2, 8, 8], np.float32)
    where = ([1, 1], [1, 1], [1, 1], [1, 1])
    hidden = opset13.relu(opset13.convolution(images, opset13.constant(first), *where))
    found = opset13.group_convolution(hidden, opset13.constant(second[:, None]), *where)
    return openvino.Model([opset13.result(found)], [images], "small")


def run(model, x):
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]


def test_ranges_are_the_ends_of_what_a_convolution_gets(model, weights):
    inputs = [np.random.default_rng(i).uniform(-1 - i, 2, (1, 2, 8, 8)).astype(np.float32) for i in range(3)]
    hidden = [F.relu(F.conv2d(torch.from_numpy(x), torch.from_numpy(weights[0]).float(), padding=1)) for x in inputs]
    low, high = zip(*input_ranges(model, inputs).values(), strict=True)
    np.testing.assert_allclose(low, [np.min(inputs), 0], rtol=1e-6)
    np.testing.assert_allclose(high, [np.max(inputs), max(float(x.max()) for x in hidden)], rtol=1e-5)


def test_convolutions_round_inputs_and_weights(model, weights):
    x = np.random.default_rng(5).uniform(-2, 1, (1, 2, 8, 8)).astype(np.float32)
    ranges = dict(zip(input_ranges(model, [x]), [(-2.0, 1.0), (0.0, 700.0)], strict=True))
    exact = run(model, x)
    quantise(model, ranges)
    top = 2 * 127 / 128
    first, second = (torch.from_numpy(rounded_weights(part)) for part in weights)
    hidden = F.relu(F.conv2d(torch.from_numpy(rounded(x.astype(float), -top * 128 / 127, top)), first, padding=1))
    expected = F.conv2d(torch.from_numpy(rounded(hidden.numpy(), 0, 700)), second, padding=1, groups=4).numpy()
    found = run(model, x)
    for channel in range(4):
        scale = np.abs(expected[:, channel]).max()
        # A value between two levels may go to either.
        assert np.quantile(np.abs(found - expected)[:, channel], 0.9) <= 1e-4 * scale
        assert np.abs(found - exact)[:, channel].max() > 1e-4 * scale


def test_only_convolutions_with_a_range_are_quantised(model):
    x = np.random.default_rng(6).uniform(-1, 1, (1, 2, 8, 8)).astype(np.float32)
    before = run(model, x)
    quantise(model, {})
    assert np.array_equal(run(model, x), before)
