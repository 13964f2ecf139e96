"""No file that vtadl reads can crash it, hang it or make it print a traceback; benchmarks/fuzz.py tries many more."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.fuzzing import REFUSED, TAKEN, Change, break_file, make_doors, outcome

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = {
    **{"image": 700, "run": 350, "export": 200, "map": 250, "config": 150},
    **{"region": 100, "rows": 50, "mask": 50, "split": 25, "checkpoint": 25, "drawing": 50, "layout": 25, "state": 25},
}
"""2,000 files in all."""

CHANGES = st.lists(
    st.builds(Change, kind=st.integers(0, 8), where=st.integers(0, 2**20), value=st.integers(0, 2**10)),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="session")
def doors(tmp_path_factory):
    return make_doors(tmp_path_factory.mktemp("doors"))


def test_good_files_are_taken(doors):
    assert doors.keys() == EXAMPLES.keys() and sum(EXAMPLES.values()) == 2000
    for kind, door in doors.items():
        for name, content in door.seeds:
            # A checkpoint alone is no pair of them.
            assert outcome(door, name, content) == (REFUSED if kind == "checkpoint" else TAKEN)


@pytest.mark.parametrize("name", EXAMPLES)
def test_broken_files_are_errors_of_ours(doors, name):
    @settings(
        max_examples=EXAMPLES[name],
        deadline=10_000,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def check(data):
        file, content = data.draw(st.sampled_from(doors[name].seeds))
        assert outcome(doors[name], file, break_file(content, data.draw(CHANGES))) in (TAKEN, REFUSED)

    check()


@pytest.mark.parametrize("case", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_went_wrong_does_not_again(doors, case):
    """A file's name is the number of the finding, an underscore, and its name at the door."""
    name = case.name.partition("_")[2].replace("@", "/")
    assert outcome(doors[case.parent.name], name, case.read_bytes()) in (TAKEN, REFUSED)
