import hashlib

import pytest

from vtadl.data.hashing import content_hash, select_by_content
from vtadl.errors import DataError


def write(folder, contents):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_hash_is_sha256(tmp_path):
    (path,) = write(tmp_path, [b"part"])
    assert content_hash(path) == hashlib.sha256(b"part").hexdigest()


def test_unreadable_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read '.*gone\.png'"):
        content_hash(tmp_path / "gone.png")


def test_the_lowest_hashes_are_chosen_whatever_the_names(tmp_path):
    contents = [bytes([i]) for i in range(30)]
    lowest = sorted(contents, key=lambda content: hashlib.sha256(content).hexdigest())[:7]
    for folder, order in ((tmp_path / "a", contents), (tmp_path / "b", contents[::-1])):
        chosen = select_by_content(write(folder, order), 7, content_hash)
        assert {path.read_bytes() for path in chosen} == set(lowest)
        assert len(chosen) == 7


def test_copies_stay_together(tmp_path):
    paths = write(tmp_path, [bytes([i // 2]) for i in range(20)])
    for count in range(21):
        chosen = select_by_content(paths, count, content_hash)
        assert len(chosen) == count // 2 * 2
        assert all((paths[i] in chosen) == (paths[i + 1] in chosen) for i in range(0, 20, 2))


def test_a_set_of_copies_alone_is_not_used_up(tmp_path):
    assert select_by_content(write(tmp_path, [b"same"] * 12), 3, content_hash) == frozenset()


def test_unreadable_files_are_never_chosen(tmp_path):
    paths = [*write(tmp_path, [b"a", b"b"]), tmp_path / "gone.png"]
    assert select_by_content(paths, 3, content_hash) == frozenset(paths[:2])
