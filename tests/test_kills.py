"""Commands end in order at SIGTERM, and survive SIGKILL at any moment; benchmarks/kills.py tries 200 moments."""

import pytest

from helpers.forks import in_fork
from helpers.kills import CASES, make_all, tries


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the commands need, made once."""
    root = tmp_path_factory.mktemp("kills")
    in_fork(make_all, root)
    return root


def tried(root, name, kills, number):
    return in_fork(tries, root, name, kills, 0, number)


KILLS = {"train at once": 1, "calibrate": 2, "predict": 3, "watch": 2, "compare": 1, "export": 1}
"""Ten, those of `LONG` among the slow tests; five of a training with checkpoints are in training/test_train.py."""
LONG = {"export", "watch", "compare"}


def marked(names):
    """The commands that take long, among the slow tests."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in names]


@pytest.mark.parametrize("name", marked(KILLS))
def test_killed_and_given_again_a_command_makes_what_it_makes_undisturbed(place, name):
    found = tried(place, name, KILLS[name], 9)
    assert len(found) == KILLS[name]
    for one in found:
        assert one["equal"], one
        assert one["code"] in (0, -15), one  # -15: a watch that had nothing left to do


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_at_more_moments(place, name):
    for one in tried(place, name, 6, 9):
        assert one["equal"] and one["code"] in (0, -15), one


@pytest.mark.parametrize("name", marked(["train", "calibrate", "predict", "watch", "export"]))
def test_sigterm_ends_as_ctrl_c_does_and_says_how_to_resume(place, name):
    for one in tried(place, name, 1, 15):
        assert one["equal"], one
        assert "Traceback" not in one["said"], one
        assert one["left"] == [], one
        if one["killed"] == 130:
            assert "interrupted" in one["said"]
            assert "the same command" in one["said"] or "vtadl calibrate" in one["said"], one
        else:
            # It ended before; or it had not begun: the signal came before the command itself.
            assert one["killed"] in (0, -15), one
