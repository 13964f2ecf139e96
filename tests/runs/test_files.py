"""Files that appear whole, and files of one writer."""

import json
import os

import pytest

from vtadl.errors import BundleError
from vtadl.runs.files import lock, shortened, write_bytes
from vtadl.runs.folders import check_free
from vtadl.runs.ownership import sole_writer


def test_a_file_has_one_writer_until_it_is_closed(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as first:
        lock(first, "taken")
        second = path.open("a")
        with pytest.raises(BundleError, match="taken"):
            lock(second, "taken")
        assert second.closed
    with path.open("a") as third:
        lock(third, "taken")


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "a", "no bytes")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_names_that_are_too_long_end_in_a_hash():
    assert shortened("part.png") == "part.png"
    names = [shortened(letter * 250, 10) for letter in ("a", "é", "油")]
    assert all(len(name.encode()) <= 230 for name in names) and names[0].startswith("aaaa")
    assert shortened("a" * 300) != shortened("a" * 301)


def test_two_trainings_into_one_folder_are_refused_at_the_start(tmp_path):
    with sole_writer(tmp_path / "run"):
        check_free(tmp_path / "run", force=False)
        with (
            pytest.raises(BundleError, match=rf"process {os.getpid()} is training into"),
            sole_writer(tmp_path / "run"),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"pid": 2**22 + 1}, {"started": "1"}, None])
def test_a_stale_lock_is_taken_over(tmp_path, change):
    with sole_writer(tmp_path / "run"):
        (lock_file,) = tmp_path.iterdir()
        holder = json.loads(lock_file.read_text())
    lock_file.write_text("half a lo" if change is None else json.dumps({**holder, **change}))
    with sole_writer(tmp_path / "run"):
        assert json.loads(lock_file.read_text()) == holder
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_host_says_how_to_go_on(tmp_path):
    with sole_writer(tmp_path / "run"):
        (lock_file,) = tmp_path.iterdir()
        holder = json.loads(lock_file.read_text())
    lock_file.write_text(json.dumps({**holder, "host": "elsewhere"}))
    with pytest.raises(BundleError, match=r"of 'elsewhere' is training into .*remove '.*\.run\.lock'"):
        check_free(tmp_path / "run", force=True)


@pytest.mark.parametrize("name", ["notes.txt", "photos/part.jpg", "overlays/notes.txt", ".git/HEAD", "a.png"])
def test_force_replaces_nothing_of_others(tmp_path, name):
    (tmp_path / "out/overlays").mkdir(parents=True)
    for own in ("predictions.jsonl", "inspection.json", "overlays/000.png"):
        (tmp_path / "out" / own).touch()
    check_free(tmp_path / "out", force=True)
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / name).touch()
    with pytest.raises(BundleError, match=rf"{name}' was not written by vtadl"):
        check_free(tmp_path / "out", force=True)
