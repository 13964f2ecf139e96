"""Files that appear whole, and files of one writer."""

import pytest

from vtadl.errors import BundleError
from vtadl.runs.files import lock, write_bytes


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
