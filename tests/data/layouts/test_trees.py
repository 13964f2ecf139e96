"""Each layout, read from a small tree in its exact names; and what is said of a tree that nearly is one."""

import json

import pytest

from helpers.trees import TREES, spoil
from vtadl.cli import main
from vtadl.data.check import check_category, conditions
from vtadl.data.layouts import read_category
from vtadl.errors import DataError


def shown(category):
    def place(path):
        return None if path is None else category.relative(path)

    return {place(s.path): (s.split, s.label, place(s.mask)) for s in category.samples}


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_every_layout_is_read(tree, tmp_path):
    category = read_category(tree.make(tmp_path))
    assert category.layout == tree.layout
    found = shown(category)
    if not category.own_split and tree.layout != "bare":  # which good image is tested depends on its content
        assert sorted(found) == sorted(tree.expected)
        assert all(found[name][2] == tree.expected[name][2] for name in found)
        assert sorted(v[:2] for v in found.values()) == sorted(v[:2] for v in tree.expected.values())
    else:
        assert found == tree.expected
    assert conditions(category) == tree.conditions
    assert all(sample.path.is_file() for sample in category.samples)
    assert not any("nearly" in note for note in category.notes)
    # Nothing of the tree is unknown to its reader.
    assert category.left_out.line() is None


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_every_image_and_mask_of_a_tree_is_usable(tree, tmp_path):
    report = check_category(read_category(tree.make(tmp_path)))
    assert report.errors == []
    expected = [mask for _, _, mask in tree.expected.values() if mask]
    assert (report.masks["expected"], report.masks["found"], report.masks["empty"]) == (len(expected), len(expected), 0)
    said = "\n".join(report.warnings)
    assert "outside this layout" not in said and "masks of no image" not in said and "no images by their" not in said


@pytest.mark.parametrize("tree", [tree for tree in TREES if tree.nearly], ids=lambda tree: tree.name)
def test_a_near_miss_says_which_layout_it_nearly_is(tree, tmp_path, capsys):
    category = tree.make(tmp_path)
    spoil(tree, tmp_path)
    read = main(["data", "check", str(category), "--json", str(tmp_path / "report.json")]) == 0
    said = capsys.readouterr()
    if read:
        assert any(tree.nearly in note for note in json.loads((tmp_path / "report.json").read_text())["warnings"])
    else:
        assert tree.nearly in said.err and "it is nearly" in said.err


def test_a_folder_that_is_nothing_names_no_near_miss(tmp_path):
    (tmp_path / "letters").mkdir()
    with pytest.raises(DataError) as caught:
        read_category(tmp_path)
    assert "nearly" not in str(caught.value)


def test_what_is_read_instead_is_said(tmp_path):
    tree = next(tree for tree in TREES if tree.name == "good and bad")
    category = tree.make(tmp_path)
    (category / "good").rename(category / "OK")
    (category / "OK/000.png").rename(category / "000.png")
    found = read_category(category)
    assert found.layout == "bare"
    assert "is read as bare, and is nearly the plain layout (OK/ where good/ is expected" in found.notes[0]
