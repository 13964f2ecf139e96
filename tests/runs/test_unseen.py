"""A detector is tested on what it has not seen, whatever the folder calls it."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vtadl.data.check import taken_as
from vtadl.data.layouts import read_category
from vtadl.errors import VtadlWarning
from vtadl.runs.unseen import unseen_by


def save(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)


@pytest.fixture
def plain(tmp_path):
    for number in range(12):
        save(tmp_path / f"good/{number}.png", number)
        save(tmp_path / f"bad/{number}.png", 100 + number)
    return tmp_path


def run_of(trained=(), held_out=()):
    """What matters of a run: what it has seen."""
    return SimpleNamespace(
        source=SimpleNamespace(training_sha256=tuple(trained)), held_out=SimpleNamespace(sha256=tuple(held_out))
    )


def names(samples):
    return sorted(sample.path.parent.name + "/" + sample.path.name for sample in samples)


pytestmark = pytest.mark.filterwarnings("error::vtadl.errors.VtadlWarning")  # where none is expected there is none


def test_a_folder_of_new_parts_is_tested_whole(plain):
    category = read_category(plain)
    assert sum(not sample.is_defective for sample in category.test) == 2
    tested = unseen_by(run_of(["elsewhere"]), category)
    assert len(tested.test) == 24 and not tested.train


def test_what_was_trained_or_calibrated_on_is_not_tested(plain):
    """As where defective photos came after a training on all good ones."""
    category = read_category(plain)
    good = [sample for sample in category.samples if not sample.is_defective]
    seen = [sample.sha256 for sample in good[:9]]
    tested = unseen_by(run_of(seen[:8], seen[8:]), category)
    assert names(s for s in tested.test if not s.is_defective) == names(good[9:])
    assert sum(sample.is_defective for sample in tested.test) == 12


def test_a_layout_that_says_what_is_for_tests_is_believed(tmp_path):
    for number in range(4):
        save(tmp_path / f"train/good/{number}.png", number)
    save(tmp_path / "test/good/a.png", 2)
    save(tmp_path / "test/good/b.png", 50)
    category = read_category(tmp_path)
    trained = [sample.sha256 for sample in category.train]
    with pytest.warns(VtadlWarning, match="^1 of 2 test images were trained on: metrics look better than they are$"):
        assert unseen_by(run_of(trained), category) is category
    assert unseen_by(run_of(), category) is category  # an old run does not say what it saw


def test_data_check_says_what_is_taken_for_what(plain):
    said = taken_as(read_category(plain))
    assert said.startswith("9 good images to learn from, 1 to calibrate, 14 to test with; 2 of the 12 in good/ are")
