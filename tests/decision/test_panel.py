"""The panel that a person looks at: photo, heat map, verdict and scale."""

import dataclasses

import numpy as np
import pytest

from vtadl.decision import heatmap
from vtadl.decision.decide import Prediction
from vtadl.decision.panel import PAPER, SIDES, VERDICTS, Scale, heat_picture, panel
from vtadl.decision.regions import find_regions

SCALE = Scale(low=0.0, high=6.0, threshold=2.0, pixel_threshold=2.0)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


@pytest.fixture
def prediction():
    anomaly_map = np.zeros((300, 400), np.float32)
    anomaly_map[100:160, 200:280] = 5.0
    return Prediction(
        score=5.0, anomaly_map=anomaly_map, verdict="defective", p_value=0.02, regions=find_regions(anomaly_map, 2.0)
    )


def test_the_photo_in_its_colours_beside_the_heat_map(image, prediction):
    shown = np.asarray(panel(image, prediction, SCALE))
    top = next(row for row in range(shown.shape[0]) if np.array_equal(shown[row, :400], image[0]))
    assert np.array_equal(shown[top : top + 300, :400], image)
    heat = heat_picture(image, prediction, SCALE)
    left = next(c for c in range(400, 440) if np.array_equal(shown[top : top + 300, c], heat[:, 0]))
    assert np.array_equal(shown[top : top + 300, left : left + 400], heat)
    # The bar beside them runs from the last colour on top to none.
    bar = shown[top : top + 300, left + 400 + 15].astype(float)
    assert np.abs(bar[0] - (heatmap.OPACITY * np.array(heatmap.ANCHORS[-1][1]) + (1 - heatmap.OPACITY) * 128)).max() < 2
    assert (bar[-1] == 128).all()


def test_the_verdict_has_its_colour_and_its_words_fit(image, prediction):
    for verdict, colour in VERDICTS.items():
        shown = np.asarray(panel(image[:, :40], _part(prediction, verdict), SCALE))
        assert (shown[:20] == colour).all(axis=-1).any()
        assert (shown[:, -1] == PAPER).all()  # nothing is cut off at the right


def test_small_pictures_grow_and_large_ones_shrink(image, prediction):
    small = dataclasses.replace(prediction, anomaly_map=prediction.anomaly_map[:30, :40], regions=())
    assert panel(image[:30, :40], small, SCALE).height > SIDES[0] * 30 / 40
    large = Prediction(score=1.0, anomaly_map=np.zeros((1500, 3000), np.float32))
    shown = panel(np.zeros((1500, 3000, 3), np.uint16), large, Scale(low=0.0, high=1.0))
    assert shown.height < 600


def _part(prediction, verdict):
    return dataclasses.replace(prediction, anomaly_map=prediction.anomaly_map[:, :40], verdict=verdict, regions=())
