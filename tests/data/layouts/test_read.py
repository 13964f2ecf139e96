import json
from collections import Counter
from pathlib import Path

import pytest

from helpers.trees import COCO
from vtadl.data.layouts import Category, empty_folders, find_images, read_category
from vtadl.errors import DataError


def touch(root: Path, *names: str) -> None:
    """Files whose content is their name; no layout opens an image."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def listing(category):
    return {
        str(sample.path.relative_to(category.root)): (
            sample.split,
            sample.label,
            str(sample.mask.relative_to(category.root)) if sample.mask else None,
        )
        for sample in category.samples
    }


class TestMVTec:
    def test_all_parts(self, tmp_path):
        touch(
            tmp_path,
            "train/good/0.png",
            "validation/good/1.png",
            "test/good/2.png",
            "test/cut/3.jpg",
            "test/cut/4.JPG",
            "ground_truth/cut/3_mask.png",
            "ground_truth/cut/4_mask.png",
            "readme.txt",
        )
        category = read_category(tmp_path)
        assert category.layout == "mvtec" and category.name == tmp_path.name
        assert listing(category) == {
            "train/good/0.png": ("train", "good", None),
            "validation/good/1.png": ("validation", "good", None),
            "test/good/2.png": ("test", "good", None),
            "test/cut/3.jpg": ("test", "cut", "ground_truth/cut/3_mask.png"),
            "test/cut/4.JPG": ("test", "cut", "ground_truth/cut/4_mask.png"),
        }
        assert [len(part) for part in (category.train, category.validation, category.test)] == [1, 1, 3]
        assert [sample.is_defective for sample in category.test] == [True, True, False]

    def test_without_masks(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "test/cut/3.png")
        category = read_category(tmp_path)
        assert category.test[0].mask is None
        assert category.mask_folder is None

    def test_a_missing_mask_is_expected_where_others_are(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "test/cut/3.png", "test/dent/4.png", "ground_truth/cut/3_mask.png")
        dent = read_category(tmp_path).test[1]
        assert dent.mask == tmp_path / "ground_truth/dent/4_mask.png" and not dent.mask.exists()

    def test_masks_named_as_their_images(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "test/bad/3.jpg", "ground_truth/bad/3.png")
        assert read_category(tmp_path).test[0].mask == tmp_path / "ground_truth/bad/3.png"

    def test_two_masks_of_one_image_are_refused(self, tmp_path):
        touch(
            tmp_path, "train/good/0.png", "test/bad/3.jpg", "ground_truth/bad/3_mask.png", "ground_truth/bad/3_mask.bmp"
        )
        with pytest.raises(
            DataError, match=r"3_mask\.bmp' and '.*3_mask\.png' are both masks of one image; remove one"
        ):
            read_category(tmp_path)

    def test_a_test_set_alone(self, tmp_path):
        touch(tmp_path, "test/good/0.png", "test/cut/1.png")
        category = read_category(tmp_path)
        assert (category.layout, len(category.train), len(category.test)) == ("mvtec", 0, 2)


class TestBTAD:
    def test_ok_and_ko(self, tmp_path):
        touch(
            tmp_path,
            "train/ok/0000.bmp",
            "test/ok/0001.bmp",
            "test/ko/0002.bmp",
            "test/ko/0003.bmp",
            "ground_truth/ko/0002.png",
            "ground_truth/ko/0003.bmp",
        )
        category = read_category(tmp_path)
        assert category.layout == "btad"
        assert listing(category) == {
            "train/ok/0000.bmp": ("train", "good", None),
            "test/ok/0001.bmp": ("test", "good", None),
            "test/ko/0002.bmp": ("test", "ko", "ground_truth/ko/0002.png"),
            "test/ko/0003.bmp": ("test", "ko", "ground_truth/ko/0003.bmp"),
        }


class TestVisA:
    ROWS = (
        "candle,train,normal,candle/Data/Images/Normal/0.JPG,",
        "candle,test,normal,candle/Data/Images/Normal/1.JPG,",
        "candle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,candle/Data/Masks/Anomaly/0.png",
        "capsules,train,normal,capsules/Data/Images/Normal/0.JPG,",
    )

    def make(self, root, rows=ROWS, header="object,split,label,image,mask", name="1cls.csv"):
        (root / "split_csv").mkdir(parents=True)
        (root / "split_csv" / name).write_text("\n".join([header, *rows]) + "\n")
        touch(root, *(f"candle/Data/Images/{image}.JPG" for image in ("Normal/0", "Normal/1", "Anomaly/0")))
        touch(root, "candle/Data/Masks/Anomaly/0.png")
        return root / "candle"

    @pytest.mark.parametrize("name", ["1cls.csv", "own.csv"])
    def test_split_table(self, tmp_path, name):
        category = read_category(self.make(tmp_path, name=name))
        assert (category.layout, category.name) == ("visa", "candle")
        assert listing(category) == {
            "Data/Images/Normal/0.JPG": ("train", "good", None),
            "Data/Images/Normal/1.JPG": ("test", "good", None),
            "Data/Images/Anomaly/0.JPG": ("test", "anomaly", "Data/Masks/Anomaly/0.png"),
        }
        assert all(sample.path.is_file() for sample in category.samples)

    def test_one_class_table_wins_over_others(self, tmp_path):
        root = self.make(tmp_path)
        (tmp_path / "split_csv" / "0.csv").write_text("nothing\n")
        assert len(read_category(root).samples) == 3

    def test_the_folder_of_tables_is_no_object(self, tmp_path):
        self.make(tmp_path)
        with pytest.raises(DataError, match=r"holds categories \(candle\); name one"):
            read_category(tmp_path)

    def test_from_inside_the_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(self.make(tmp_path))
        category = read_category(Path())
        assert category.name == "candle"
        assert all(sample.path.is_file() for sample in category.samples)

    def test_bad_tables(self, tmp_path):
        with pytest.raises(DataError, match=r"1cls\.csv' has columns a,b; expected object,split,label,image,mask"):
            read_category(self.make(tmp_path / "columns", header="a,b"))
        with pytest.raises(DataError, match=r"lists no object 'candle'; expected a folder named as one of: capsules"):
            read_category(self.make(tmp_path / "object", rows=self.ROWS[3:]))
        bad = "candle,train,anomaly,candle/Data/Images/Anomaly/0.JPG,"
        with pytest.raises(DataError, match=r"row 1 of 'candle': split 'train' with label 'anomaly'; expected"):
            read_category(self.make(tmp_path / "label", rows=[bad]))
        root = self.make(tmp_path / "bytes")
        (tmp_path / "bytes/split_csv/1cls.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match=r"1cls\.csv' is not a CSV table in UTF-8"):
            read_category(root)


class TestPlain:
    def test_a_fifth_of_the_good_images_is_tested(self, tmp_path):
        touch(tmp_path, *(f"good/{i}.png" for i in range(20)), "bad/a.png", "bad/b.png", "masks/a.png")
        touch(tmp_path, "masks/b_mask.png")
        category = read_category(tmp_path)
        assert category.layout == "plain"
        assert Counter((sample.split, sample.label) for sample in category.samples) == {
            ("train", "good"): 16,
            ("test", "good"): 4,
            ("test", "bad"): 2,
        }
        masks = {sample.path.name: sample.mask for sample in category.test if sample.is_defective}
        assert masks == {"a.png": tmp_path / "masks/a.png", "b.png": tmp_path / "masks/b_mask.png"}

    def test_the_choice_depends_on_the_content_alone(self, tmp_path):
        for i in range(20):
            touch(tmp_path / "a", f"good/{i}.png", "bad/0.png")
        (tmp_path / "b/good").mkdir(parents=True)
        touch(tmp_path / "b", "bad/0.png")
        for i in range(20):
            (tmp_path / f"b/good/part-{19 - i}.png").write_text(f"good/{i}.png")

        def tested(root):
            return {sample.path.read_text() for sample in read_category(root).test if not sample.is_defective}

        assert tested(tmp_path / "a") == tested(tmp_path / "b")

    def test_without_bad_images_all_are_trained_on(self, tmp_path):
        touch(tmp_path, *(f"good/{i}.png" for i in range(20)))
        assert len(read_category(tmp_path).train) == 20

    @pytest.mark.parametrize(("count", "tested"), [(1, 0), (2, 1), (7, 1), (8, 2), (100, 20)])
    def test_few_images(self, tmp_path, count, tested):
        touch(tmp_path, *(f"good/{i}.png" for i in range(count)), "bad/0.png")
        category = read_category(tmp_path)
        assert (len(category.train), len(category.test) - 1) == (count - tested, tested)

    def test_types_of_defects_in_folders(self, tmp_path):
        touch(tmp_path, "good/0.png", "bad/0.png", "bad/dent/0.png", "masks/0.png", "masks/dent/0.png")
        labels = {sample.label: sample.mask for sample in read_category(tmp_path).test}
        assert labels == {"bad": tmp_path / "masks/0.png", "dent": tmp_path / "masks/dent/0.png"}

    def test_a_defect_named_good_is_refused(self, tmp_path):
        touch(tmp_path, "good/0.png", "bad/good/0.png")
        with pytest.raises(DataError, match=r"would count as a type of defect; .*rename it, or move it"):
            read_category(tmp_path)


class TestDrawings:
    """A file of drawings is used, or said not to be: its images are never taken for others."""

    @staticmethod
    def parts(root, **changed):
        touch(root, "train/good/0.png", "test/good/001.png", "test/cut/002.png")
        return write(root / "annotations/a.json", {**COCO, **changed})

    def test_where_it_is_used_nothing_is_said(self, tmp_path):
        self.parts(tmp_path)
        assert read_category(tmp_path).notes == ()

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"images": [{**COCO["images"][0], "height": None}]}, "cannot read annotations from"),
            ({"images": [COCO["images"][0], {**COCO["images"][1], "id": 1}]}, "two images have the id 1"),
        ],
    )
    def test_a_damaged_one_is_an_error(self, changed, said, tmp_path):
        self.parts(tmp_path, **changed)
        with pytest.raises(DataError, match=said):
            read_category(tmp_path)

    def test_two_that_differ_are_an_error(self, tmp_path):
        self.parts(tmp_path)
        again = write(tmp_path / "annotations/b.json", COCO)
        assert read_category(tmp_path).test[0].mask == tmp_path / "annotations/a.json"
        write(again, {**COCO, "annotations": []})
        with pytest.raises(DataError, match=r"a\.json' and '.*b\.json' both draw on '.*002\.png', and differ"):
            read_category(tmp_path)

    @pytest.mark.parametrize("name", ["images/002.png", "002.PNG"])
    def test_one_that_names_none_of_the_images_is_said(self, name, tmp_path):
        path = self.parts(tmp_path, images=[{**COCO["images"][0], "file_name": name}])
        (note,) = read_category(tmp_path).notes
        assert note.startswith(f"no masks are read: '{path}' names '{name}', and no")

    def test_beside_images_none_of_which_it_names(self, tmp_path):
        touch(tmp_path, "002.png", "003.png")
        write(tmp_path / "a.json", COCO)
        (note,) = read_category(tmp_path).notes
        assert "is read as bare, and is nearly images with drawings ('a.json' names 'test/cut/002.png'" in note

    def test_a_drawing_that_is_cut_off_makes_no_good_image(self, tmp_path):
        touch(tmp_path, "002.png", "003.png")
        (tmp_path / "002.json").write_text('{"shapes": [{"label"')
        with pytest.raises(DataError, match=r"cannot read annotations from '.*002\.json'"):
            read_category(tmp_path)

    def test_a_drawing_of_another_tool_is_said(self, tmp_path):
        touch(tmp_path, "002.png", "003.png")
        write(tmp_path / "002.json", {"objects": []})
        (note,) = read_category(tmp_path).notes
        assert "('002.json' is neither labelme's nor COCO's)" in note

    def test_images_and_annotations_in_folders_of_their_own_are_nearly_a_layout(self, tmp_path):
        touch(tmp_path, "images/002.png")
        write(tmp_path / "annotations/a.json", COCO)
        with pytest.raises(DataError, match=r"nearly images with drawings \(images/ and annotations/ are apart"):
            read_category(tmp_path)


class TestNearlyNamed:
    """A folder that is nearly named as it should be is never silently something else."""

    @pytest.mark.parametrize(
        "names",
        [
            ("train/good/0.png", "test/Good/1.png", "test/cut/2.png"),
            ("train/good/0.png", "test/good/1.png", "test/OK/2.png"),
            ("train/ok/0.png", "test/normal/1.png", "test/ko/2.png"),
            ("train/good/0.png", "test_public/Good/1.png", "test_public/bad/2.png"),
            ("train/good/rgb/0.png", "test/Good/rgb/1.png", "test/cut/rgb/2.png"),
            ("good/0.png", "bad/OK/1.png"),
        ],
    )
    def test_good_parts_are_no_type_of_defect(self, names, tmp_path):
        touch(tmp_path, *names)
        with pytest.raises(DataError, match=r"would count as a type of defect; .*rename it"):
            read_category(tmp_path)

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (("Train/good/0.png", "test/good/1.png"), "Train/ is not read: train/ is expected"),
            (("train/Good/0.png", "test/good/1.png"), "train/Good/ is not read: train/good/ is expected"),
            (("train/normal/0.png", "test/good/1.png"), "train/normal/ is not read: train/good/ is expected"),
            (("train/good/0.png", "Test/good/1.png"), "Test/ is not read: test/ is expected"),
            (("train/good/0.png", "val/good/1.png"), "val/ is not read: validation/ is expected"),
            (("train/ok/0.png", "TEST/ok/1.png"), "TEST/ is not read: test/ is expected"),
            (
                ("train/good/0.png", "test/cut/1.png", "Ground_Truth/cut/1.png"),
                "expected in ground_truth/, and here is Ground_Truth/",
            ),
            (
                ("train/good/0.png", "test_public/bad/1.png", "ground_truth/1.png"),
                "in test_public/ground_truth/, and here",
            ),
            (("good/0.png", "NG/1.png"), "NG/ is not read: bad/ is expected"),
            (("good/0.png", "Bad/1.png"), "Bad/ is not read: bad/ is expected"),
            (("good/0.png", "bad/1.png", "ground_truth/1.png"), "expected in masks/, and here is ground_truth/"),
            (("0.png", "defect/1.png"), "is nearly the plain layout (defect/ is there, and no good/"),
        ],
    )
    def test_a_folder_that_is_not_read_is_said_with_its_right_name(self, names, said, tmp_path):
        touch(tmp_path, *names)
        assert any(said in note for note in read_category(tmp_path).notes)

    def test_the_right_names_say_nothing(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "validation/good/1.png", "test/good/2.png", "test/cut/3.png")
        touch(tmp_path, "ground_truth/cut/3.png")
        assert read_category(tmp_path).notes == ()


class TestOthers:
    def test_bare_folder_in_natural_order(self, tmp_path):
        touch(tmp_path, "img10.png", "img2.PNG", "Img1.tiff", "notes.txt", "._img3.png")
        category = read_category(tmp_path)
        assert category.layout == "bare"
        assert [sample.path.name for sample in category.train] == ["Img1.tiff", "img2.PNG", "img10.png"]

    def test_name_of_the_working_folder(self, tmp_path, monkeypatch):
        touch(tmp_path, "part/0.png")
        monkeypatch.chdir(tmp_path / "part")
        assert read_category(Path()).name == "part"

    def test_unknown_layout(self, tmp_path):
        touch(tmp_path, "holiday/beach.jpg", "notes.txt")
        with pytest.raises(
            DataError, match=r"matches no known layout: found holiday/, notes\.txt; expected train/good"
        ):
            read_category(tmp_path)

    def test_empty_folder_missing_folder_and_file(self, tmp_path):
        with pytest.raises(DataError, match="found nothing; expected train/good"):
            read_category(tmp_path)
        with pytest.raises(DataError, match=r"gone' does not exist; expected the folder of one product"):
            read_category(tmp_path / "gone")
        touch(tmp_path, "0.png")
        with pytest.raises(DataError, match=r"0\.png' is a file; expected the folder"):
            read_category(tmp_path / "0.png")

    def test_a_folder_of_categories_names_them(self, tmp_path):
        touch(tmp_path, "bottle/train/good/0.png", "cable/good/0.png")
        with pytest.raises(
            DataError, match=r"holds categories \(bottle, cable\); name one of them, such as '.*bottle'"
        ):
            read_category(tmp_path)

    def test_unreadable_folder(self, tmp_path, monkeypatch):
        touch(tmp_path, "train/good/0.png")

        def refuse(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "iterdir", refuse)
        with pytest.raises(DataError, match=r"cannot list '.*train': Permission denied; check its permissions"):
            read_category(tmp_path)

    def test_empty_folders(self, tmp_path):
        touch(tmp_path, "train/good/notes.txt", "test/good/0.png")
        (tmp_path / "test/cut").mkdir()
        assert empty_folders(read_category(tmp_path)) == [tmp_path / "train/good", tmp_path / "test/cut"]


class TestFindImages:
    def test_files_and_folders(self, tmp_path):
        touch(tmp_path, "a/10.png", "a/9.JPG", "a/deep/1.webp", "a/notes.txt", "a/.hidden.png", "b.bmp")
        found = find_images([tmp_path / "a", tmp_path / "b.bmp", tmp_path / "a/10.png"])
        assert [str(path.relative_to(tmp_path)) for path in found] == ["a/9.JPG", "a/10.png", "a/deep/1.webp", "b.bmp"]

    def test_what_is_no_image(self, tmp_path):
        touch(tmp_path, "a/notes.txt")
        with pytest.raises(DataError, match=r"a' holds no images; expected files ending in \.png"):
            find_images([tmp_path / "a"])
        with pytest.raises(DataError, match=r"notes\.txt' is no image by its name"):
            find_images([tmp_path / "a/notes.txt"])
        with pytest.raises(DataError, match=r"gone' does not exist; expected an image or a folder"):
            find_images([tmp_path / "gone"])

    def test_names_beyond_ascii(self, tmp_path):
        touch(tmp_path, "Prüfling ² 3.png", "Prüfling ² ٣.png")
        assert len(find_images([tmp_path])) == 2


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "train", "good", "defective"),
    [("mvtec/transistor", 213, 60, 40), ("mvtec/bottle", 209, 20, 63), ("magnetic_tile", 300, 100, 388)],
)
def test_real_categories(shared, name, train, good, defective):
    category = read_category(shared / "data" / name)
    counts = Counter((sample.split, sample.is_defective) for sample in category.samples)
    assert counts == {("train", False): train, ("test", False): good, ("test", True): defective}
    with_masks = (category.root / "ground_truth").is_dir()
    assert all(
        (sample.mask is not None and sample.mask.is_file()) == with_masks
        for sample in category.test
        if sample.is_defective
    )


def test_paths_are_shown_from_the_folder_on(tmp_path):
    category = Category(root=tmp_path / "part", layout="mvtec", samples=())
    assert category.relative(tmp_path / "part/test/cut/0.png") == "test/cut/0.png"
    assert category.relative(tmp_path / "elsewhere/0.png") == str(tmp_path / "elsewhere/0.png")


class TestWhatIsFound:
    """An image of a folder is taken, or counted in the line."""

    def test_images_in_sub_folders_of_a_class_are_its_images(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "train/good/lotA/1.png", "train/good/lotB/deep/2.png", "test/good/x/0.png")
        touch(tmp_path, "test/cut/lotA/7.png", "ground_truth/cut/lotA/7_mask.png", "test/cut/7.png")
        touch(tmp_path, "ground_truth/cut/7.png")
        category = read_category(tmp_path)
        assert len(category.train) == 3
        assert listing(category)["test/cut/lotA/7.png"] == ("test", "cut", "ground_truth/cut/lotA/7_mask.png")
        assert listing(category)["test/cut/7.png"] == ("test", "cut", "ground_truth/cut/7.png")
        assert category.left_out.line() is None

    def test_what_a_training_leaves_out_is_counted(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "train/good/@eaDir/0.png", "train/good/.ipynb_checkpoints/0-checkpoint.png")
        touch(tmp_path, "train/bad/0.png", "train/good/raw.heic", "licence.txt")
        category = read_category(tmp_path)
        assert [sample.path.name for sample in category.train] == ["0.png"]
        line = category.left_out.line()
        assert line.startswith("left out 4 files: ")
        for part in ("1 of thumbnails or trash", "1 hidden", "1 outside this layout", "1 no images by their names"):
            assert part in line

    def test_a_bare_folder_is_not_searched_but_says_so(self, tmp_path):
        touch(tmp_path, "0.png", "lotA/1.png", "lotA/2.png")
        category = read_category(tmp_path)
        assert len(category.train) == 1
        assert "2 outside this layout" in category.left_out.line()

    def test_folders_of_masks_as_of_mvtec_loco(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "test/logical_anomalies/000.png", "test/logical_anomalies/001.png")
        touch(tmp_path, "ground_truth/logical_anomalies/000/000.png", "ground_truth/logical_anomalies/000/001.png")
        touch(tmp_path, "ground_truth/logical_anomalies/001/000.png")
        masks = [sample.mask for sample in read_category(tmp_path).test]
        assert masks == [tmp_path / f"ground_truth/logical_anomalies/{name}" for name in ("000", "001")]

    @pytest.mark.parametrize("name", ["@eaDir", ".Trash-0", ".ipynb_checkpoints", "#recycle", "__MACOSX", "Thumbnails"])
    def test_thumbnails_and_trash_are_passed_over(self, tmp_path, name):
        touch(tmp_path, "0.png", f"{name}/0.png", f"deep/{name}/deeper/1.jpg")
        said = []
        assert find_images([tmp_path], said.append) == [tmp_path / "0.png"]
        assert len(said) == 1 and said[0].startswith("left out 2 files: 2 ")

    def test_links_are_followed_once(self, tmp_path):
        touch(tmp_path, "in/0.png", "elsewhere/1.png", "elsewhere/2.png")
        (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "in/again").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "in/loop").symlink_to(tmp_path / "in")
        (tmp_path / "in/gone.png").symlink_to(tmp_path / "nowhere.png")
        said = []
        found = find_images([tmp_path / "in"], said.append)
        assert sorted(path.name for path in found) == ["0.png", "1.png", "2.png"]
        assert "under another name already" in said[0] and "1 links to nothing" in said[0]

    @pytest.mark.parametrize("suffix", ["pgm", "PPM", "jfif", "gif", "jp2", "avif", "tga", "qoi", "pcx", "apng", "dib"])
    def test_whatever_pillow_reads_is_taken(self, tmp_path, suffix):
        touch(tmp_path, f"0.{suffix}")
        assert len(find_images([tmp_path])) == 1

    def test_one_file_by_two_paths_is_one(self, tmp_path, monkeypatch):
        touch(tmp_path, "in/0.png")
        monkeypatch.chdir(tmp_path)
        assert len(find_images([Path("in"), tmp_path / "in", Path("in/0.png")])) == 1
