"""The card: what it says of scores, and that only a whole and sound one is read."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtadl.decision.card import FORMAT, CalibrationSet, Card, Rate, from_json, p_value, to_json
from vtadl.decision.decide import decide
from vtadl.errors import BundleError

RATE = Rate(asked=0.05, expected=0.045, low=0.001, high=0.16, images=21)
HELD_OUT = CalibrationSet(
    kind="held out",
    folder="stripes",
    added="2026-01-02T03:04:05+00:00",
    sha256=("a" * 64, "b" * 64, "c" * 64),
    scores=(1.5, 3.0, 2.0),
    appearance=((0.5, 0.1, 0.02),) * 3,
)
DEFECTS = dataclasses.replace(HELD_OUT, kind="labelled defective", scores=(9.0, 8.0, 7.0), appearance=())
CARD = Card(
    format=FORMAT,
    vtadl="0.1.0",
    created="2026-01-02T03:04:05+00:00",
    weights_sha256="d" * 64,
    category="<stripes>",
    preset="gaussian",
    method="false-reject rate",
    promise="exact",
    notes=("A note with <b>markup</b>.",),
    threshold=3.0,
    review_threshold=2.0,
    pixel_threshold=2.0,
    false_rejects=RATE,
    reviews=RATE,
    outlined=None,
    misses=None,
    calibration_sets=(HELD_OUT, DEFECTS),
)


def test_verdicts_change_above_their_thresholds():
    assert [CARD.verdict(score) for score in (1.0, 2.0, 2.001, 3.0, 3.001)] == [
        *("good", "good", "review", "review", "defective")
    ]
    without_band = dataclasses.replace(CARD, review_threshold=None)
    assert [without_band.verdict(score) for score in (2.5, 3.001)] == ["good", "defective"]


def test_p_values_come_from_good_images_alone():
    assert CARD.calibration == (1.5, 2.0, 3.0)
    assert [CARD.p_value(score) for score in (1.0, 1.75, 3.0, 3.5)] == [1.0, 0.75, 0.5, 0.25]
    assert dataclasses.replace(CARD, calibration_sets=()).p_value(1.0) is None
    assert p_value(1.0, []) == 1.0


def test_a_decision_has_regions_and_stays_inside_what_is_roi_mask():
    anomaly_map = np.full((4, 5), 1.0, np.float32)
    anomaly_map[0, 0], anomaly_map[3, 4] = 9.0, 2.5
    everywhere = decide(anomaly_map, CARD)
    assert (everywhere.score, everywhere.verdict, everywhere.p_value) == (9.0, "defective", 0.25)
    assert [region.peak for region in everywhere.regions] == [(0, 0), (4, 3)]
    roi_mask = np.ones((4, 5), bool)
    roi_mask[0, 0] = False
    inside = decide(anomaly_map, CARD, roi_mask)
    assert (inside.score, inside.verdict, len(inside.regions)) == (2.5, "review", 1)
    assert inside.anomaly_map.max() == 2.5
    assert decide(anomaly_map, None).verdict is None


def test_json_there_and_back():
    assert from_json(to_json(CARD), "card.json") == CARD


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("threshold", "3", "card.threshold is '3', expected float"),
        ("threshold", None, "card.threshold is 'None', expected float"),
        ("threshold", True, "expected float"),
        ("threshold", 10**400, "expected a finite number"),
        ("review_threshold", 4.0, "is not below 3"),
        ("promise", "absolute", "expected one of: exact, approximate, none"),
        ("promise", ["exact"], "expected one of"),
        ("notes", "text", "card.notes is no list"),
        ("calibration_sets", [1], r"card.calibration_sets\[0\] is no object"),
        ("false_rejects", {"asked": 1.0}, "card.false_rejects is no object with the keys"),
        ("format", 0, "format is 0"),
        ("format", 99, "upgrade vtadl"),
        ("extra", 1, "card is no object with the keys"),
    ],
)
def test_a_damaged_card_is_refused(key, value, message):
    content = {**json.loads(to_json(CARD)), key: value}
    with pytest.raises(BundleError, match=message) as caught:
        from_json(json.dumps(content), "runs/x/card.json")
    assert "runs/x/card.json" in str(caught.value)


def test_scores_without_images_are_refused():
    content = json.loads(to_json(CARD))
    content["calibration_sets"][0]["scores"].append(4.0)
    with pytest.raises(BundleError, match="has 4 scores for 3 images"):
        from_json(json.dumps(content), "card.json")
    content["calibration_sets"][0]["sha256"].append("e")
    with pytest.raises(BundleError, match="damaged"):
        from_json(json.dumps(content), "card.json")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"threshold": NaN}'])
def test_what_is_no_card_is_refused(text):
    with pytest.raises(BundleError, match="damaged"):
        from_json(text, "card.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_anything_else_is_an_error_of_ours(content):
    for key in ("calibration_sets", "threshold", "false_rejects", "notes"):
        text = json.dumps({**json.loads(to_json(CARD)), key: content})
        try:
            from_json(text, "card.json")
        except BundleError:
            continue


def test_a_card_with_the_earlier_name_of_its_sets_is_read():
    assert from_json(to_json(CARD).replace('"calibration_sets"', '"parts"'), "card.json") == CARD
