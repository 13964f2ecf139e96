import pytest

from vtadl.data.layouts import Sample, read_category
from vtadl.data.splits import hold_out, training_split
from vtadl.errors import DataError


def samples(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for i, content in enumerate(contents):
        (folder / f"{i}.png").write_bytes(content)
        made.append(Sample(path=folder / f"{i}.png", split="train", label="good"))
    return made


def numbered(count):
    return [i.to_bytes(2) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, 0), (1, 0), (9, 0), (10, 1), (14, 1), (15, 2), (99, 10), (100, 20), (199, 20), (213, 21), (300, 30)],
)
def test_how_many_are_held_out(tmp_path, count, expected):
    given = samples(tmp_path, numbered(count))
    kept, held_out = hold_out(given)
    assert len(held_out) == expected
    assert sorted([*kept, *held_out], key=given.index) == given
    assert [*kept] == [sample for sample in given if sample in kept]


def test_copied_and_renamed_files_are_chosen_alike(tmp_path):
    _, first = hold_out(samples(tmp_path / "a", numbered(50)))
    _, second = hold_out(samples(tmp_path / "b", numbered(50)[::-1]))
    assert {s.path.read_bytes() for s in first} == {s.path.read_bytes() for s in second}


def test_exact_copies_land_on_the_same_side(tmp_path):
    kept, held_out = hold_out(samples(tmp_path, [i // 3 * b"x" for i in range(120)]))
    assert not {s.path.read_bytes() for s in kept} & {s.path.read_bytes() for s in held_out}
    assert len(held_out) == 18  # Of groups of three, at most 20.


def test_validation_images_of_the_layout_are_held_out(tmp_path):
    samples(tmp_path / "train/good", numbered(30))
    samples(tmp_path / "validation/good", [b"v1", b"v2"])
    train, held_out = training_split(read_category(tmp_path))
    assert (len(train), [s.path.name for s in held_out]) == (30, ["0.png", "1.png"])


def test_without_validation_images_a_part_is_held_out(tmp_path):
    samples(tmp_path / "train/good", numbered(30))
    category = read_category(tmp_path)
    assert training_split(category) == hold_out(category.train)
    assert len(training_split(category)[1]) == 3


def test_nothing_to_train_on(tmp_path):
    samples(tmp_path / "test/good", [b"1"])
    with pytest.raises(DataError, match="has no images to train on"):
        training_split(read_category(tmp_path))


@pytest.mark.real_data
def test_real_category(shared):
    train, held_out = training_split(read_category(shared / "data/mvtec/transistor"))
    assert (len(train), len(held_out)) == (192, 21)
