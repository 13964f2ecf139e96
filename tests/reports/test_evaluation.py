"""The report as a reader of its HTML meets it."""

import base64
import io
import os
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.categories import good_image, make_category
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import read_category
from vtadl.evaluation import evaluate_run
from vtadl.reports.evaluation import Evaluated, write_report
from vtadl.reports.pictures import EXTREMES, ROW, choose
from vtadl.training.train import train_run

CPU = torch.device("cpu")
WICKED = "<script>alert(1)&"


@dataclass
class Page(HTMLParser):
    """What stands in a page: tags with their attributes, tables as text, and the text itself."""

    tags: list = field(default_factory=list)
    tables: dict = field(default_factory=dict)
    texts: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self._open = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        elif tag in ("th", "td", "small"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self._open:
            self.texts.append(data)
        if "caption" in self._open:
            self._caption += data
        elif any(tag in self._open for tag in ("th", "td")):
            self.tables[self._caption][-1][-1] += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def text(self):
        return " ".join(self.texts)


def read(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def trained(root):
    config = apply_settings(preset_config("gaussian"), ["model.image_size=96"])
    return train_run(config, read_category(root), CPU)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(make_category(tmp_path_factory.mktemp("training") / "stripes"))


@pytest.fixture
def report_on(run, tmp_path):
    def make(root, title="stripes"):
        category = read_category(root)
        one = Evaluated(run=run, category=category, report=evaluate_run(run, category, CPU))
        write_report(tmp_path / "report.html", one, CPU, title=title)
        return read(tmp_path / "report.html"), one

    return make


def test_every_metric_and_interval_stands_in_the_table(report_on, tmp_path):
    page, one = report_on(make_category(tmp_path / "stripes", train=0))
    rows = {row[0].replace(" ", "_"): row for row in page.tables["Metrics on the test images"][1:]}
    assert len(rows) == 8
    for name, value in one.report.metrics.items():
        low, high = one.report.evaluation.intervals[name]
        assert rows[name][2:] == [f"{value:.4f}", f"{low:.4f} to {high:.4f}"]
    assert "4 good and 4 defective images, 4 masks" in page.text


def test_types_of_defect_are_told_apart(report_on, tmp_path):
    root = make_category(tmp_path / "stripes", train=0)
    (root / "test/unseen").mkdir()
    (root / "ground_truth/unseen").mkdir()
    for index in range(3):
        Image.fromarray(good_image(500 + index)).save(root / f"test/unseen/{index}.png")
        Image.fromarray(np.eye(72, dtype=np.uint8)).save(root / f"ground_truth/unseen/{index}_mask.png")
    page, one = report_on(root)
    rows = {row[0]: row[1:] for row in page.tables["By type of defect"][1:]}
    scores = {s.path.parent.name + s.path.name: x for s, x in zip(one.report.samples, one.report.scores, strict=True)}
    good, unseen = ([x for name, x in scores.items() if name.startswith(kind)] for kind in ("good", "unseen"))
    separation = np.mean([(u > g) + 0.5 * (u == g) for u in unseen for g in good])
    assert list(rows) == ["square", "unseen", "good"]
    assert [row[0] for row in rows.values()] == ["4", "3", "4"]
    assert [row[2] for row in rows.values()] == ["1.0000", f"{separation:.4f}", "–"]
    assert [row[3] for row in rows.values()] == ["4", "3", "–"]
    overlaps = [one.report.evaluation.breakdown.by_defect[name].overlap for name in ("square", "unseen")]
    assert [row[5] for row in rows.values()] == [*(f"{overlap.aupro['0.3']:.4f}" for overlap in overlaps), "–"]


def test_the_page_needs_nothing_else(report_on, tmp_path):
    page, _ = report_on(make_category(tmp_path / "stripes", train=0))
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    pictures = page.all("img")
    # 4 defects as finds, misses and spread, and 4 good ones as false alarms and spread: a photo and a heat map each.
    assert len(pictures) == 2 * (3 * 4 + 2 * 4)
    for picture in pictures:
        kind, data = picture["src"].split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert (kind, image.size) == (f"data:image/{image.format.lower()}", (72, 72))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    text = re.sub(r"base64,[\w+/=]+", "", (tmp_path / "report.html").read_text())
    assert all(word not in text for word in ("http:", "https:", "//", "@import", "url(h"))
    assert (tmp_path / "report.html").stat().st_size < 500_000


def test_the_page_opens_with_pictures_that_a_click_enlarges(report_on, tmp_path):
    page, _ = report_on(make_category(tmp_path / "stripes", train=0))
    kinds = [name for name, _ in page.tags if name in ("figure", "table")]
    first_table = kinds.index("table")
    assert first_table == 4 + 4 + 4  # finds, false alarms and misses
    order = [page.text.index(words) for words in ("Surest finds", "Worst false alarms", "Worst misses", "Curves and")]
    assert order == sorted(order)
    names = {one["aria-label"] for one in page.all("input") if one.get("aria-label")}
    assert names == {f"enlarge test/{label}/{number:03}.png" for label in ("good", "square") for number in range(4)}


def test_the_page_can_be_heard(report_on, tmp_path):
    page, _ = report_on(make_category(tmp_path / "stripes", train=0))
    assert page.all("html")[0]["lang"] == "en"
    assert all(picture["alt"] for picture in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert all(head["scope"] for head in page.all("th"))
    assert len(page.all("h1")) == 1


def test_names_are_text_whatever_they_hold(report_on, tmp_path):
    root = make_category(tmp_path / f"{WICKED} Gehäuse 部品", train=0)
    (root / "test/square").rename(root / f'test/{WICKED}"')
    (root / "ground_truth/square").rename(root / f'ground_truth/{WICKED}"')
    page, _ = report_on(root, title=WICKED)
    assert page.all("script") == []
    assert WICKED in page.text
    assert f'{WICKED}"' in [row[0] for row in page.tables["By type of defect"]]
    assert any(f'{WICKED}"' in picture["alt"] for picture in page.all("img"))


@pytest.mark.skipif(os.name != "posix", reason="file names are text there")
def test_a_file_name_that_is_no_text_is_shown_as_far_as_it_is(report_on, tmp_path):
    root = make_category(tmp_path / "stripes", train=0)
    strange = root / "test/good" / os.fsdecode(b"\xff\xfe.png")
    try:
        (root / "test/good/000.png").rename(strange)
    except OSError:
        pytest.skip("this file system takes only text")
    page, _ = report_on(root)
    assert "??.png" in page.text


def test_without_masks_pixel_metrics_are_dashes_with_the_reason(report_on, tmp_path):
    page, _ = report_on(make_category(tmp_path / "stripes", train=0, masks=False))
    rows = {row[0]: row for row in page.tables["Metrics on the test images"][1:]}
    assert rows["pixel AUPRO@0.3"][1:] == ["cannot be computed: no masks", "–", "–"]
    assert rows["image AUROC"][2] == "1.0000"
    assert all(one["aria-label"].startswith("enlarge ") for one in page.all("input"))
    assert "PRO" not in page.text.replace("AUPRO", "")


@pytest.mark.parametrize(
    ("counts", "reason", "missing", "galleries"),
    [
        ({"good": 0}, "no good test images", "Worst false alarms", 3),
        ({"defective": 0}, "no defective test images", "Worst misses", 2),
    ],
)
def test_one_kind_of_images_alone_still_makes_a_report(report_on, tmp_path, counts, reason, missing, galleries):
    root = make_category(tmp_path / "stripes", train=1, **counts)
    page, _ = report_on(root)
    rows = page.tables["Metrics on the test images"][1:]
    assert rows[0][1:] == [f"cannot be computed: {reason}", "–", "–"]
    assert missing not in page.text
    assert len(page.all("img")) == 2 * 4 * galleries


def test_images_of_any_size_and_depth_are_shown(report_on, tmp_path):
    root = make_category(tmp_path / "stripes", train=0, good=1, defective=1)
    folder = root / "test/good"
    Image.fromarray(np.full((600, 150), 4000, np.uint16)).save(folder / "12_bits.png")
    Image.fromarray(good_image(7, 8)).save(folder / "tiny.png")
    Image.fromarray(np.zeros((1, 900), np.uint8)).save(folder / "line.png")
    image, mask = np.zeros((1200, 1300, 3), np.uint8), np.zeros((1200, 1300), np.uint8)
    mask[1199, 1299] = 1  # a single pixel, far smaller than one of the picture's
    Image.fromarray(image).save(root / "test/square/large.png")
    Image.fromarray(mask).save(root / "ground_truth/square/large_mask.png")
    page, _ = report_on(root)
    shown = {}
    for picture in page.all("img"):
        with Image.open(io.BytesIO(base64.b64decode(picture["src"].split(",")[1]))) as opened:
            shown[picture["alt"]] = np.asarray(opened)
    assert shown["Photo: good, 12_bits.png"].shape[:2] == (288, 72)
    assert shown["Photo: good, 12_bits.png"].mean() == pytest.approx(4000 / 16, abs=2)
    assert shown["Photo: good, line.png"].shape[:2] == (1, 288)
    np.testing.assert_array_equal(shown["Photo: good, tiny.png"], good_image(7, 8))
    assert any(path.get("d") == "M259 239H260M259 240H260M259 239V240M260 239V240" for path in page.all("path"))


def test_pictures_are_chosen_by_score_alone(run, tmp_path):
    category = read_category(make_category(tmp_path / "stripes", train=0, good=2, defective=20))
    report = evaluate_run(run, category, CPU)
    scores = np.random.default_rng(0).permutation(len(report.samples)) * 1.0
    report = replace(report, scores=tuple(scores))
    choice = choose(report)
    defective = sorted(x for s, x in zip(report.samples, scores, strict=True) if s.is_defective)
    assert [scores[index] for index in choice.misses] == defective[:EXTREMES]
    assert [scores[index] for index in choice.finds] == defective[::-1][:EXTREMES]
    assert [scores[index] for index in choice.spread["square"]] == [
        defective[place] for place in np.linspace(0, 19, 2 * ROW).round().astype(int)
    ]
    assert scores[choice.false_alarms[0]] > scores[choice.false_alarms[1]]
    assert len(choice.false_alarms) == len(choice.spread["good"]) == 2


def test_good_parts_look_calm_and_defects_do_not(report_on, tmp_path):
    page, _ = report_on(make_category(tmp_path / "stripes", train=0))
    colourful = {"good": [], "square": []}
    for picture in page.all("img"):
        if picture["alt"].startswith("Heat map"):
            with Image.open(io.BytesIO(base64.b64decode(picture["src"].split(",")[1]))) as opened:
                pixels = np.asarray(opened).astype(int)
            label = picture["alt"].split(": ")[1].split(",")[0]
            colourful[label].append((np.ptp(pixels, axis=2) > 60).mean())
    assert max(colourful["good"]) < 0.02
    assert min(colourful["square"]) > 0.02


def test_a_report_that_cannot_be_written_leaves_nothing(run, tmp_path):
    category = read_category(make_category(tmp_path / "stripes", train=0))
    one = Evaluated(run=run, category=category, report=evaluate_run(run, category, CPU))
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_report(tmp_path / "report.html", one, CPU, title="x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "stripes"]
    assert list(Path(tmp_path / "report.html").iterdir()) == []
