"""From images to a card: what counts, what is left out, what is promised."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import vtadl
from helpers.categories import defective_image, good_image, make_category
from vtadl.calibration.calibrate import Request, calibrate
from vtadl.calibration.images import gather
from vtadl.data.hashing import content_hash
from vtadl.data.layouts import read_category
from vtadl.decision.card import CalibrationSet
from vtadl.decision.threshold import conformal_threshold, rank_of_rate
from vtadl.errors import BundleError, ConfigError, DataError, VtadlWarning
from vtadl.reports.card import PAGE_FILE, write_card

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=40, good=6, defective=6)


@pytest.fixture(scope="module")
def trained(category):
    return vtadl.train(category, preset="gaussian", model={"image_size": 64}, device="cpu")


@pytest.fixture
def run(trained):
    """The detector without a card, whatever another test gave it."""
    return dataclasses.replace(trained.run, card=None)


def images(folder, count, start):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        Image.fromarray(good_image(index)).save(folder / f"{index}.png")
    return folder


def collected(run, **arguments):
    return gather(run, CPU, **arguments)


def pool(scores, kind="held out"):
    sha256 = tuple(f"{kind}{index}" for index in range(len(scores)))
    return CalibrationSet(kind=kind, folder="x", added="now", sha256=sha256, scores=tuple(scores), appearance=())


SCORES = pool([float(score) for score in range(1, 100)])
DEFECTS = pool([90.5 + score for score in range(30)], "labelled defective")
GOOD = pool([10.0, 99.5], "labelled good")


def test_a_rate_sets_threshold_interval_and_outlines(run):
    card = calibrate(run, [SCORES], Request(false_reject_rate=0.03))
    assert (card.threshold, card.pixel_threshold, card.review_threshold) == (97.0, 97.0, None)
    assert (card.promise, card.method) == ("exact", "false-reject rate")
    assert card.false_rejects == card.outlined
    assert card.false_rejects.expected == 0.03
    interval = stats.beta(3, 97).interval(0.95)
    assert (card.false_rejects.low, card.false_rejects.high) == pytest.approx(interval)
    assert card.p_value(97.5) == pytest.approx(0.03)
    assert calibrate(run, [SCORES], Request()).threshold == 95.0


def test_a_review_band_and_outlines_of_their_own(run):
    card = calibrate(run, [SCORES, DEFECTS], Request(false_reject_rate=0.02, review_rate=0.1, outline_rate=0.05))
    assert (card.threshold, card.review_threshold, card.pixel_threshold) == (98.0, 90.0, 95.0)
    assert (card.reviews.asked, card.outlined.asked) == (0.1, 0.05)
    # Defects in the band are seen by a person: they are not missed.
    assert (card.misses.expected, card.misses.asked) == (0.0, None)
    with_band = calibrate(run, [SCORES], Request(false_reject_rate=0.02, review_rate=0.1))
    assert with_band.pixel_threshold == with_band.review_threshold
    assert with_band.outlined == with_band.reviews


def test_by_hand_nothing_is_promised_and_rates_are_counted(run):
    card = calibrate(run, [SCORES], Request(threshold=95.5, review_threshold=50.0))
    assert (card.promise, card.threshold, card.pixel_threshold) == ("none", 95.5, 50.0)
    assert card.false_rejects.expected == pytest.approx(4 / 99)
    exact = stats.binomtest(4, 99).proportion_ci(0.95, "exact")
    assert (card.false_rejects.low, card.false_rejects.high) == pytest.approx((exact.low, exact.high))
    assert calibrate(run, [], Request(threshold=1.0)).false_rejects is None


def test_labelled_defects_set_the_threshold_for_misses_or_costs(run):
    misses = calibrate(run, [SCORES, DEFECTS], Request(miss_rate=0.1))
    assert misses.promise == "approximate"
    assert sum(score <= misses.threshold for score in DEFECTS.scores) == 2
    assert misses.misses.asked == 0.1 and misses.misses.expected == pytest.approx(2 / 30)
    cheap = calibrate(run, [SCORES, DEFECTS, GOOD], Request(miss_cost=1000.0, defect_share=0.5))
    assert cheap.threshold < min(DEFECTS.scores)
    dear = calibrate(run, [SCORES, DEFECTS, GOOD], Request(miss_cost=0.01, defect_share=0.5))
    assert dear.threshold >= max(GOOD.scores)
    assert any("2 labelled good images" in note for note in dear.notes)


def test_requests_that_cannot_be(run):
    for request, message in (
        (Request(false_reject_rate=0.1, threshold=3.0), "--false-reject-rate and --threshold cannot both decide"),
        (Request(review_rate=0.1, review_threshold=3.0), "--review-rate and --review-threshold cannot both decide"),
        (Request(threshold=float("inf")), "--threshold is inf"),
        (Request(false_reject_rate=0.1, review_rate=0.05), "the review band would be empty"),
    ):
        with pytest.raises(ConfigError, match=message):
            calibrate(run, [SCORES], request)
    with pytest.raises(DataError, match=r"0\.1 % needs at least 999"):
        calibrate(run, [SCORES], Request(false_reject_rate=0.001))
    with pytest.raises(DataError, match="there are 0: give some with --labelled"):
        calibrate(run, [SCORES], Request(miss_rate=0.1))


def test_a_higher_rate_never_rejects_less(run):
    thresholds = [calibrate(run, [SCORES], Request(false_reject_rate=rate / 100)).threshold for rate in range(1, 100)]
    assert all(a > b for a, b in pairwise(thresholds))


def test_the_held_out_images_are_where_it_begins(run):
    (one,) = collected(run)
    assert (one.kind, one.scores) == ("held out", run.held_out.scores)
    assert len(one.sha256) == len(one.appearance) == len(one.scores) == 4


def test_added_images_count_once_and_never_if_trained_on(run, category, tmp_path):
    fresh = images(tmp_path / "fresh", 5, 500)
    Image.open(fresh / "500.png").save(tmp_path / "fresh/copy.png")
    training = images(tmp_path / "mixed", 2, 600)
    for index in range(40):
        (training / f"t{index}.png").write_bytes((category / "train/good" / f"{index:03}.png").read_bytes())
    with pytest.warns(VtadlWarning) as found:
        sets = collected(run, add_good=[fresh, training, fresh])
    warned = [str(one.message) for one in found]
    assert [(one.kind, len(one.scores)) for one in sets] == [("held out", 4), ("added good", 5), ("added good", 2)]
    assert len(warned) == 4
    assert "1 images left out: their like is counted already" in warned[0]
    assert "36 images left out: they were trained on" in warned[1]
    assert "4 images left out: their like is counted already" in warned[2]
    assert "6 images left out" in warned[3]
    card = calibrate(run, sets, Request(false_reject_rate=0.1))
    assert (card.promise, len(card.calibration)) == ("exact", 11)


def test_images_of_the_card_stay_until_it_is_begun_afresh(run, tmp_path):
    run.card = calibrate(run, collected(run, add_good=[images(tmp_path / "a", 3, 500)]), Request(threshold=5.0))
    assert sum(len(one.scores) for one in collected(run)) == 7
    more = collected(run, add_good=[images(tmp_path / "b", 2, 600)])
    assert sum(len(one.scores) for one in more) == 9
    assert sum(len(one.scores) for one in collected(run, fresh=True)) == 4


def test_rejects_that_were_fine_take_the_exactness_and_show_what_defects_do(run, category, tmp_path):
    good = images(tmp_path / "good", 25, 500)
    run.card = calibrate(
        run, collected(run, add_good=[good], labelled=read_category(category)), Request(false_reject_rate=0.2)
    )
    assert run.card.promise == "exact"
    rejects = images(tmp_path / "rejects", 1, 900)
    for index in range(3):
        Image.fromarray(defective_image(index)[0]).save(rejects / f"d{index}.png")
    card = calibrate(run, collected(run, add_rejects=[rejects]), Request(false_reject_rate=0.1))
    assert card.promise == "approximate"
    assert "biased sample" in card.notes[0] and "no longer exact" in card.notes[0]
    assert card.threshold > run.card.threshold
    (defects,) = (one.scores for one in card.calibration_sets if one.kind == "labelled defective")
    old, new = (sum(score <= limit for score in defects) for limit in (run.card.threshold, card.threshold))
    assert card.notes[-1] == (f"Of 6 labelled defects, {old} passed as good before this calibration, and {new} do now.")


def test_labelled_images_measure_and_do_not_calibrate(run, category):
    sets = collected(run, labelled=read_category(category))
    assert [one.kind for one in sets] == ["held out", "labelled good", "labelled defective"]
    card = calibrate(run, sets, Request(threshold=float(np.median(sets[1].scores)) * 1.3))
    assert len(card.calibration) == 4
    assert card.misses.images == 6
    assert card.misses.expected == 0.0


def test_labelled_images_without_defects_are_refused(run, tmp_path):
    images(tmp_path / "bare", 3, 0)
    with pytest.raises(DataError, match="has no defective test images"):
        collected(run, labelled=read_category(tmp_path / "bare"))


def test_cross_fitting_scores_every_training_image_by_another_detector(run, category):
    held_out, cross_fit = collected(run, cross_fit=read_category(category))
    assert held_out.scores == run.held_out.scores
    assert sorted(cross_fit.sha256) == list(run.source.training_sha256)
    assert len(cross_fit.scores) == len(cross_fit.appearance) == 36
    by_hash = {content_hash(path): path for path in (category / "train/good").iterdir()}
    shipped = vtadl.Detector(run, "cpu")
    seen = np.array([shipped.predict(by_hash[sha]).score for sha in cross_fit.sha256])
    # The detector that is used knows these images, so it scores them lower than those that do not.
    assert np.mean(np.array(cross_fit.scores) > seen) > 0.9
    card = calibrate(run, (held_out, cross_fit), Request(false_reject_rate=0.05))
    assert card.promise == "approximate" and "Cross-fitted" in card.notes[0]
    assert card.false_rejects.images == 40


def test_cross_fitting_takes_the_category_it_was_trained_on(run, tmp_path):
    other = make_category(tmp_path / "other", train=13)
    with pytest.raises(DataError, match="does not hold the 40 images"):
        collected(run, cross_fit=read_category(other))


def test_bad_files_among_added_ones(run, tmp_path):
    folder = images(tmp_path / "fresh", 2, 500)
    (folder / "bad.png").write_text("x")
    with pytest.raises(DataError, match=r"bad\.png"):
        collected(run, add_good=[folder])
    bad = []
    sets = collected(run, add_good=[folder], on_bad=lambda path, error: bad.append(path.name))
    assert bad == ["bad.png"] and len(sets[1].scores) == len(sets[1].sha256) == 2


def test_a_card_is_saved_with_its_run_and_refused_with_another(trained, run, tmp_path):
    detector = vtadl.Detector(run, "cpu")
    card = detector.calibrate(threshold=2.0, review_threshold=1.0)
    assert detector.predict(good_image(3)).p_value is not None
    detector.save(tmp_path / "run")
    page = (tmp_path / "run" / PAGE_FILE).read_text()
    assert "<h1>Decision card: stripes</h1>" in page and "http://" not in page and "https://" not in page
    loaded = vtadl.load(tmp_path / "run", device="cpu")
    assert loaded.run.card == card
    image, _ = defective_image(5)
    assert loaded.predict(image).verdict == detector.predict(image).verdict == "defective"
    content = json.loads((tmp_path / "run/card.json").read_text())
    write_card(tmp_path / "run", dataclasses.replace(card, weights_sha256="0" * 64))
    with pytest.raises(BundleError, match="belongs to a detector with other weights"):
        vtadl.load(tmp_path / "run", device="cpu")
    (tmp_path / "run/card.json").write_text(json.dumps(content | {"threshold": "low"}))
    with pytest.raises(BundleError, match=r"card\.threshold is 'low', expected float"):
        vtadl.load(tmp_path / "run", device="cpu")


def test_names_cannot_bring_markup_into_the_page(run, tmp_path):
    card = calibrate(run, [SCORES], Request())
    one = dataclasses.replace(SCORES, folder="<script>alert(1)</script>")
    write_card(tmp_path, dataclasses.replace(card, category="<img src=x>", notes=("<i>",), calibration_sets=(one,)))
    page = (tmp_path / PAGE_FILE).read_text()
    for markup in ("<script", "<img", "<i>"):
        assert markup not in page


@pytest.mark.slow
@pytest.mark.real_data
def test_the_promise_on_partitions_of_real_good_images(shared):
    """Held-out pools of real images, cut 1,000 times into images that calibrate and images that are judged."""
    category = read_category(shared / "data/magnetic_tile")
    detector = vtadl.train(category.root, preset="gaussian", model={"image_size": 96}, device="cpu")
    good = [sample.path for sample in category.test if not sample.is_defective]
    scores = np.array([*detector.run.held_out.scores, *(detector.predict(path).score for path in good)])
    rng = np.random.default_rng(0)
    for count, rate in ((21, 0.05), (60, 0.05), (60, 0.1)):
        rank, rest = rank_of_rate(rate, count), len(scores) - count
        rejected = []
        for _ in range(1000):
            order = rng.permutation(len(scores))
            threshold = conformal_threshold(list(scores[order[:count]]), rate)
            rejected.append(np.sum(scores[order[count:]] > threshold))
        realised = np.array(rejected) / rest
        assert realised.mean() <= rate + 3 * realised.std(ddof=1) / len(realised) ** 0.5
        # Of finitely many judged images the share is beta-binomial about the Beta that the card states.
        low, high = stats.betabinom(rest, rank, count + 1 - rank).interval(0.95)
        assert np.mean((low <= rejected) & (rejected <= high)) >= 0.93
