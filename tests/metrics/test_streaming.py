import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest

from helpers import scenes
from vtadl.errors import ConfigError, DataError
from vtadl.metrics import ScoredImage, StreamingEvaluation, evaluate


def stream(scored, bits=24):
    streaming = StreamingEvaluation(bits)
    for image in scored:
        streaming.update(image)
    return streaming


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", scenes.FAMILIES)
def test_the_exact_metric_lies_within_the_stated_bounds(family, dtype, bits):
    for seed in range(2):
        scored = scenes.images(seed, family, dtype, n=6, side=30, shift=0.5)
        exact = evaluate(scored, bootstrap=0).metrics
        bounded = stream(scored, bits).metrics()
        assert list(bounded) == list(exact)
        for name, value in exact.items():
            assert bounded[name].low <= value <= bounded[name].high, name
            assert bounded[name].low <= bounded[name].value <= bounded[name].high, name
            assert abs(bounded[name].value - value) <= bounded[name].error


def test_the_bound_is_tight_for_usual_scores():
    scored = scenes.images(1, "heavy", n=10, side=80, shift=1.0)
    for name, metric in stream(scored).metrics().items():
        assert metric.error < 2e-4, name
    # Perfectly separated scores, and scores with few levels, leave nothing open.
    for name, metric in stream(scenes.images(1, "ties", n=10, side=40, shift=9.0)).metrics().items():
        assert name.startswith("image") or metric.error < 1e-9, name


def test_shards_merge_to_the_same_bytes_in_any_order():
    scored = scenes.images(2, "heavy", n=12, side=40, shift=1.0)
    whole = stream(scored, 18).to_bytes()
    shards = [stream(scored[start::4], 18).to_bytes() for start in range(4)]
    for order in itertools.permutations(shards):
        merged = StreamingEvaluation.from_bytes(order[0])
        for shard in order[1:]:
            merged.merge(StreamingEvaluation.from_bytes(shard))
        assert merged.to_bytes() == whole
    assert stream(scored[::-1], 18).to_bytes() == whole


def test_memory_does_not_grow_with_the_images():
    rng = np.random.default_rng(0)
    streaming = StreamingEvaluation(20)
    peaks = []
    tracemalloc.start()
    for count in (5, 40):
        tracemalloc.reset_peak()
        for _ in range(count):
            anomaly_map = rng.standard_normal((64, 64), dtype=np.float32)
            streaming.update(ScoredImage(name="x", defect="good", score=1.0, anomaly_map=anomaly_map, mask=None))
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.05


def test_a_missing_mask_takes_all_pixel_metrics_away_through_a_merge_too():
    scored = scenes.images(3, "normal", n=6)
    partial = stream([dataclasses.replace(i, mask=None) for i in scored])
    merged = stream(scored)
    merged.merge(partial)
    for metrics in (partial.metrics(), merged.metrics()):
        assert all((value is None) == name.startswith("pixel") for name, value in metrics.items())
    assert set(StreamingEvaluation().metrics().values()) == {None}


def test_sums_beyond_64_bits_stay_exact():
    streaming = stream(scenes.images(4, "normal", n=6, side=30, shift=0.5), 16)
    before = streaming.metrics()
    for _ in range(22):  # as if each image had come four million times
        streaming.merge(StreamingEvaluation.from_bytes(streaming.to_bytes()))
    for name, metric in streaming.metrics().items():
        assert metric.value == pytest.approx(before[name].value, abs=1e-9), name
    with pytest.raises(DataError, match="more than 67108864 regions"):
        double_for_ever(streaming)


def double_for_ever(streaming):
    while True:
        streaming.merge(streaming)


def test_errors():
    image = scenes.images(0, "normal", n=2)[1]
    nan = dataclasses.replace(image, anomaly_map=np.full_like(image.anomaly_map, np.nan))
    with pytest.raises(DataError, match="'001' holds NaN"):
        StreamingEvaluation().update(nan)
    with pytest.raises(ConfigError, match=r"bits must be in 16\.\.28; got 40"):
        StreamingEvaluation(40)
    with pytest.raises(DataError, match="counts of 24 and of 20 bits"):
        StreamingEvaluation(24).merge(StreamingEvaluation(20))
    data = stream([image]).to_bytes()
    for damaged in (b"", data[:-3], data + b"x", b"X" + data[1:]):
        with pytest.raises(DataError, match="not the counts of a streaming evaluation"):
            StreamingEvaluation.from_bytes(damaged)
