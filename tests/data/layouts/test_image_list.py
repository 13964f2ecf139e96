"""Lists of images: CSV as spreadsheets write it, and Parquet."""

import sys

import pytest

from helpers.trees import picture
from vtadl.data.layouts import read_category
from vtadl.data.layouts.image_list import has_list
from vtadl.errors import DataError, DependencyError

ROWS = "image,label,mask,split\na/0.png,good,,train\na/1.png,OK,,test\nb/2.png,scratch,m/2.png,test\n"


def parts(root, text=ROWS, name="parts.csv", encoding="utf-8"):
    for number, image in enumerate(("a/0.png", "a/1.png", "b/2.png", "m/2.png")):
        picture(root / image, number)
    (root / name).write_bytes(text.encode(encoding))
    return root / name


def splits(category):
    return {category.relative(s.path): (s.split, s.label) for s in category.samples}


EXPECTED = {"a/0.png": ("train", "good"), "a/1.png": ("test", "good"), "b/2.png": ("test", "scratch")}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ROWS, "utf-8"),
        (ROWS, "utf-8-sig"),
        (ROWS.replace(",", ";"), "utf-8"),
        (ROWS.replace(",", "\t"), "utf-8"),
        (ROWS.replace("\n", "\r\n"), "utf-8"),
        (ROWS.replace("image,label", "image,camera,label").replace("png,", "png,left,", 3), "utf-8"),
        (ROWS.replace("a/0", "a\\0").replace("m/2", "m\\2"), "utf-8"),
        (ROWS.replace("train", "Training").replace("good", "0"), "utf-8"),
        (ROWS.replace("good", "Passed").replace("OK", "defect-free"), "utf-8"),
        (ROWS.replace("good", "0.0").replace("OK", "normal"), "utf-8"),
        (ROWS.replace(",", "|"), "utf-8"),
        (ROWS.replace(",", ", "), "utf-8"),
        (ROWS.replace("image,label,mask,split", "Image,LABEL,Mask,Split"), "utf-8"),
        (ROWS, "utf-16"),
        ("sep=;\n" + ROWS.replace(",", ";"), "utf-8"),
    ],
)
def test_as_spreadsheets_write_it(text, encoding, tmp_path):
    category = read_category(parts(tmp_path, text, encoding=encoding).parent)
    assert splits(category) == EXPECTED and category.layout == "list"
    assert [s.mask for s in category.samples if s.is_defective] == [tmp_path / "m/2.png"]


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        (ROWS.replace("scratch", "Riß"), "latin-1", "is not a CSV table in UTF-8.*save it as 'CSV UTF-8'"),
        (ROWS.replace("image,label,mask", "image,label,Image"), "utf-8", "has the column 'image' twice"),
    ],
)
def test_a_list_that_cannot_be_read_beside_its_images_is_no_folder_of_good_ones(text, encoding, said, tmp_path):
    picture(tmp_path / "0.png", 9)
    table = parts(tmp_path, text, encoding=encoding)
    for root in (tmp_path, table):
        with pytest.raises(DataError, match=said):
            read_category(root)


def test_images_beside_what_is_nearly_a_list_are_said_to_be(tmp_path):
    picture(tmp_path / "0.png", 9)
    parts(tmp_path, ROWS.replace("image,label", "image,class"))
    assert "is nearly a list of images ('parts.csv' has columns image, class" in read_category(tmp_path).notes[0]


@pytest.mark.parametrize("header", ["bild,klasse", "0.png,good"])
def test_a_table_that_names_images_is_nearly_a_list(header, tmp_path):
    (tmp_path / "t.csv").write_text(f"{header}\n1.png,scratch\n")
    assert "('t.csv' has columns " in str(has_list(tmp_path))


def test_one_image_under_two_names_of_its_path_is_listed_twice(tmp_path):
    with pytest.raises(DataError, match=r"lists 'b/\.\./a/0\.png' twice, in rows 1 and 2"):
        read_category(parts(tmp_path, ROWS.replace("a/1.png", "b/../a/0.png")))


def test_a_list_of_backslashes_is_no_file_of_its_own_folder_unused(tmp_path):
    category = read_category(parts(tmp_path, ROWS.replace("m/2", "m\\2")).parent)
    assert not category.left_out.counts


def test_the_file_itself_may_be_given(tmp_path):
    table = parts(tmp_path)
    parts(tmp_path, ROWS.replace("scratch", "dent"), name="other.csv")
    assert splits(read_category(table)) == EXPECTED
    with pytest.raises(DataError, match=r"several lists of images \(other\.csv, parts\.csv\); give one of them"):
        read_category(tmp_path)


def test_a_table_of_something_else_is_no_list(tmp_path):
    (tmp_path / "prices.csv").write_text("item,price\nbolt,3\n")
    assert has_list(tmp_path) is False
    (tmp_path / "notes.txt").write_text("image,label")
    with pytest.raises(DataError, match="is a file; expected the folder"):
        read_category(tmp_path / "notes.txt")


def test_without_splits_a_fifth_of_the_good_images_is_tested(tmp_path):
    rows = ["image,label"] + [f"g/{i}.png,good" for i in range(10)] + ["b/0.png,dent"]
    for number, row in enumerate(rows[1:]):
        picture(tmp_path / row.split(",")[0], number)
    (tmp_path / "list.csv").write_text("\n".join(rows))
    category = read_category(tmp_path)
    assert (len(category.train), len(category.test), category.own_split) == (8, 3, False)
    assert all(sample.mask is None for sample in category.samples)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("image,label,mask,split", "image,mask,split,x", "matches no known layout"),
        ("a/1.png,OK", ",OK", "row 2: image '', label 'OK'"),
        ("a/1.png,OK", "a/1.png,", "row 2: image 'a/1.png', label ''"),
        (",test\nb", ",later\nb", "row 2: .*split 'later'; expected a path, good or a type of defect, and train"),
        ("m/2.png,test", "m/2.png,train", "row 3: 'b/2.png' is 'scratch' and for train; only good images"),
        ("m/2.png,test", "m/2.png,", "row 3 has no split, and others do"),
        ("a/1.png", "a/0.png", "lists 'a/0.png' twice, in rows 1 and 2"),
        ("a/1.png", "a/1.txt", "row 2: 'a/1.txt' is no image by its name"),
    ],
)
def test_rows_that_cannot_be(old, new, said, tmp_path):
    assert old in ROWS
    with pytest.raises(DataError, match=said):
        read_category(parts(tmp_path, ROWS.replace(old, new, 1)).parent)


def test_a_list_without_rows(tmp_path):
    with pytest.raises(DataError, match=r"parts\.csv' lists no image"):
        read_category(parts(tmp_path, "image,label\n").parent)


def test_parquet_says_the_same(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parts(tmp_path).unlink()
    names, *rows = (line.split(",") for line in ROWS.split())
    columns = {name: [row[i] or None for row in rows] for i, name in enumerate(names)}
    parquet.write_table(pyarrow.table({**columns, "camera": [1, 2, 3]}), tmp_path / "parts.parquet")
    assert splits(read_category(tmp_path)) == EXPECTED
    assert splits(read_category(tmp_path / "parts.parquet")) == EXPECTED
    (tmp_path / "parts.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match=r"parts\.parquet' is not a Parquet file"):
        read_category(tmp_path / "parts.parquet")


def test_parquet_without_pyarrow_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "parts.parquet").write_bytes(b"PAR1")
    with pytest.raises(DependencyError, match=r"needs pyarrow; install it: pip install 'vtadl\[parquet\]', or save"):
        read_category(tmp_path)
