"""What people met at the line, end to end: nothing of it is silent, and nothing ends in a traceback."""

import csv
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vtadl
from helpers.categories import defective_image, good_image, make_category
from helpers.forks import run_command
from vtadl.cli import main
from vtadl.errors import VtadlWarning

SIZE = ("--preset", "gaussian", "--set", "model.image_size=64")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A category and a run that learned it."""
    root = tmp_path_factory.mktemp("field")
    make_category(root / "parts")
    assert main(["train", str(root / "parts"), "--out", str(root / "run"), *SIZE]) == 0
    return root


def save(path: Path, pixels: np.ndarray, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def vtadl_says(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    variables = {**os.environ, **environment}
    command = [sys.executable, "-m", "vtadl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=variables, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


def says(arguments: list[str], folder: Path, encoding: str) -> int:
    code = run_command(arguments, folder / "said.txt", encoding=encoding)
    assert b"Traceback" not in (folder / "said.txt").read_bytes(), (folder / "said.txt").read_bytes()
    return code


class TestNames:
    @pytest.mark.parametrize(
        ("encoding", "locale"),
        [("ascii", {}), ("cp1252", {}), ("ascii", {"PYTHONUTF8": "0"})],
        ids=["ascii", "cp1252", "without UTF-8 mode"],
    )
    def test_every_command_prints_any_name(self, place, tmp_path, encoding, locale):
        names = ["Prüfling.png", "검사.png", "部品 \U0001f529.png", "a\u202eb.png"]
        for number, name in enumerate(names):
            save(tmp_path / "новые" / name, good_image(300 + number))
        (tmp_path / "новые/сломан.png").write_bytes(b"nothing")
        new = tmp_path / "новые"
        predict = ["predict", str(place / "run"), str(new)]
        # Pipes, C locale and an old code page: what a service or a Windows console gives.
        how = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "LANG": "C", **locale}
        printed = vtadl_says(*predict, **how)
        assert printed.returncode == 1  # one cannot be read
        assert printed.stdout.decode(encoding).count("scored ") == len(names)
        assert b"cannot be read" in printed.stdout + printed.stderr or b"not an image" in printed.stderr
        assert says([*predict, "--out", str(tmp_path / "out")], tmp_path, encoding) == 1
        rows = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
        assert sorted(Path(row["file"]).name for row in rows) == sorted([*names, "сломан.png"])
        assert says([*predict, "--json", "-"], tmp_path, encoding) == 1
        assert says(["data", "check", str(new)], tmp_path, encoding) == 1

    def test_names_survive_a_locale_of_ascii_in_all_that_is_written(self, place, tmp_path, capsys):
        how = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "VTADL_THREADS": "1"}
        new = tmp_path / "новые"
        save(new / "Prüfling 部品 \U0001f529.png", good_image(300))
        run, out = shutil.copytree(place / "run", tmp_path / "прогон"), tmp_path / "вывод"
        assert vtadl_says("predict", run, new, "--out", out, **how).returncode == 0
        (row,) = map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
        assert row["file"] == str(new / "Prüfling 部品 \U0001f529.png")
        assert (out / row["overlay"]).exists()
        # Another locale knows them as the same files: everything is done already.
        assert main(["predict", str(run), str(new), "--out", str(out)]) == 1
        assert "exists already" in capsys.readouterr().err
        shutil.copytree(place / "parts", tmp_path / "деталь/검사")
        no_letters = Path(os.fsdecode(b"caf\xe9"))
        shutil.copytree(place / "parts", tmp_path / "деталь" / no_letters)
        compared = vtadl_says("compare", tmp_path / "деталь", "--out", out / "c", "--quiet", *SIZE, **how)
        assert compared.returncode == 0, compared.stderr
        names = {cell["category"] for cell in json.loads((out / "c/table.json").read_text())}
        assert names == {"검사", str(no_letters)}
        for table in ("comparison.html", "table.tex"):
            assert "검사" in (out / "c" / table).read_text(errors="surrogateescape")

    def test_a_name_that_is_a_formula_is_text_in_the_table(self, place, tmp_path):
        names = ["=1+1.png", "+a.png", "-b.png", "@c.png", "'d.png", "plain, with a comma.png", 'a "quote".png']
        for number, name in enumerate(names):
            save(tmp_path / "new" / name, good_image(400 + number))
        here = Path.cwd()
        os.chdir(tmp_path / "new")
        try:
            # Relative names, which the table shows as they were given.
            files = [Path(name) for name in names]
            assert main(["predict", str(place / "run"), "--out", "../out", "--", *map(str, files)]) == 0
        finally:
            os.chdir(here)
        with (tmp_path / "out/predictions.csv").open(newline="") as file:
            shown = [row["file"] for row in csv.DictReader(file)]
        assert not any(name.startswith(("=", "+", "-", "@", "\t", "\r")) for name in shown)
        expected = sorted(f"'{name}" if name[0] in "=+-@" else name for name in names)
        assert sorted(Path(name).name for name in shown) == expected


@pytest.mark.parametrize("flag", ["--json", "--report"])
def test_no_file_of_anyones_is_written_over(flag, place, tmp_path, capsys):
    photo = save(tmp_path / "photo.png", good_image(1))
    before = photo.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main(["eval", str(place / "run"), str(place / "parts"), flag, str(photo)])
    assert stopped.value.code == 2 and photo.read_bytes() == before
    assert "exists and holds neither JSON nor a page; give another name" in capsys.readouterr().err
    for again in range(2):
        assert main(["eval", str(place / "run"), str(place / "parts"), flag, str(tmp_path / "said")]) == 0, again


class TestUnlike:
    """A picture far from the training images is said to be, by whatever door it comes."""

    @pytest.fixture
    def deep(self, tmp_path):
        return save(tmp_path / "new/deep.png", good_image(500)[:, :, 0].astype(np.uint16) * 16)

    def test_printed_and_written(self, place, deep, tmp_path, capsys):
        for out in ([], ["--out", str(tmp_path / "out")]):
            assert main(["predict", str(place / "run"), str(deep.parent), *out]) == 0
            said = capsys.readouterr().err
            assert "is of 16 bits a channel, the training images have 8" in said
            assert "grey, the training images are in colour" in said

    def test_from_python(self, place, deep):
        detector = vtadl.load(place / "run")
        with pytest.warns(VtadlWarning, match="of 16 bits a channel"):
            detector.predict(deep)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            detector.predict(deep)  # said once
        with pytest.warns(VtadlWarning, match=r"deep\.png' is of 16 bits a channel"):
            list(vtadl.load(place / "run").predict_folder(deep.parent))

    def test_in_an_evaluation(self, place, tmp_path, capsys):
        make_category(tmp_path / "parts")
        save(tmp_path / "parts/test/good/000.png", good_image(100)[:, :, 0].astype(np.uint16) * 16)
        assert main(["eval", str(place / "run"), str(tmp_path / "parts")]) == 0
        assert "'test/good/000.png' is of 16 bits a channel, the training images have 8" in capsys.readouterr().err

    def test_a_picture_like_them_says_nothing(self, place, tmp_path, capsys):
        new = save(tmp_path / "new/0.png", good_image(501)).parent
        assert main(["predict", str(place / "run"), str(new)]) == 0
        assert "warning" not in capsys.readouterr().err


def test_what_a_search_leaves_out_is_said_with_and_without_a_folder_to_write_to(place, tmp_path, capsys):
    new = save(tmp_path / "new/0.png", good_image(502)).parent
    save(new / "@eaDir/0.png", good_image(503))
    (new / "raw.heic").write_bytes(b"x")
    for out in ([], ["--out", str(tmp_path / "out")]):
        assert main(["predict", str(place / "run"), str(new), *out]) == 0
        said = capsys.readouterr().err
        assert "left out 2 files" in said and "of thumbnails or trash" in said and "raw.heic" in said


class TestTrainingImages:
    """Good images of which nothing can be learned are named before any work, by the check and by the training."""

    def said(self, folder, capsys):
        checked = main(["data", "check", str(folder), "--json", str(folder.parent / "report.json")])
        trained = main(["train", str(folder), "--out", str(folder.parent / "run"), *SIZE])
        assert checked == trained == 0
        report = json.loads((folder.parent / "report.json").read_text())
        return report["warnings"], capsys.readouterr().err

    @pytest.mark.parametrize(
        ("fill", "words"),
        [
            (lambda n: np.zeros((72, 72, 3), np.uint8), "12 of 12 good images are of one colour"),
            (lambda n: np.full((72, 72, 3), 40 + n, np.uint8), "12 of 12 good images are of one colour"),
            (lambda n: good_image(1), "only 1 of 12 good images differ"),
            (lambda n: good_image(n % 4), "only 4 of 12 good images differ"),
            (lambda n: good_image(n) if n else good_image(0) * 0, "1 of 12 good images are of one colour"),
            (lambda n: good_image(n) % 3, "12 of 12 good images are of one colour"),
            (lambda n: good_image(n)[: 72 if n else 40], "1 of 12 good images are 72x40, '"),
            (lambda n: good_image(n) if n else good_image(n)[:, :, 0], "1 of 12 good images are grey, '"),
        ],
        ids=[
            *("black", "flat", "identical", "few that differ", "one that is black", "noise of a covered lens"),
            *("one of another size", "one that is grey"),
        ],
    )
    def test_flat_black_and_identical_ones(self, fill, words, tmp_path, capsys):
        for number in range(12):
            # Another suffix for every second file: copies are found by what they show, not by their bytes.
            save(tmp_path / "parts" / f"{number}.{('png', 'bmp')[number % 2]}", fill(number))
        checked, trained = self.said(tmp_path / "parts", capsys)
        assert any(words in line for line in checked) and words in trained

    def test_what_all_share_and_what_varies_is_not_odd(self, tmp_path, capsys):
        for number in range(12):
            save(tmp_path / "parts" / f"{number}.png", good_image(number)[: 60 + number])
        checked, trained = self.said(tmp_path / "parts", capsys)
        assert not any("most are" in line for line in [*checked, trained])

    def test_it_is_said_before_a_list_of_copies(self, tmp_path, capsys):
        for number in range(14):
            save(tmp_path / "parts" / f"{number}.png", good_image(1))
        assert main(["data", "check", str(tmp_path / "parts")]) == 0
        assert "only 1 of 14 good images differ" in capsys.readouterr().out


class TestGeometry:
    def maps(self, root, change, size=(40, 64)):
        """A category of ``size``, and perfect maps of it, changed."""
        for number in range(4):
            image, mask = defective_image(number, 72)
            image, mask = image[: size[0], : size[1]], mask[: size[0], : size[1]].copy()
            mask[10:16, 5 + 9 * number : 12 + 9 * number] = 255
            defect = "cut" if number < 2 else "good"
            save(root / f"parts/test/{defect}/{number}.png", image)
            if number < 2:
                save(root / f"parts/ground_truth/cut/{number}_mask.png", mask)
            target = root / f"maps/test/{defect}/{number}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, change((mask if number < 2 else mask * 0).astype(np.float32) + 0.01 * image[:, :, 0]))
        return root / "maps", root / "parts"

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda a: a[:, 12:52], "it looks like a centre crop"),
            (lambda a: a[:, ::2][:, :32].repeat(2, 0)[::2], "it looks cut"),
            (lambda a: a.T, "it looks turned by a quarter"),
            (lambda a: a[::2, ::2][:20, 6:26], "it looks squeezed into a square, or cut to one"),
        ],
        ids=["centre crop", "half as wide", "turned", "a smaller square"],
    )
    def test_maps_of_another_aspect_are_refused_and_the_way_round_is_named(self, change, words, tmp_path, capsys):
        maps, parts = self.maps(tmp_path, change)
        assert main(["metrics", str(maps), str(parts)]) == 1
        said = capsys.readouterr().err
        assert words in said and "another aspect ratio" in said
        assert ("--map-geometry center-crop" in said) == ("square" in words or "crop" in words)

    def test_a_centre_crop_that_is_named_is_placed(self, tmp_path, capsys):
        maps, parts = self.maps(tmp_path, lambda a: a[:, 12:52])
        assert main(["metrics", str(maps), str(parts), "--map-geometry", "center-crop", "--json", "-"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert content["protocol"]["map_geometry"] == "center-crop"


class TestOrientation:
    @pytest.mark.parametrize("orientation", [3, 6, 8])
    def test_masks_drawn_on_the_stored_pixels_are_warned_of_everywhere(self, place, orientation, tmp_path, capsys):
        exif = Image.Exif()
        exif[274] = orientation
        for number in range(4):
            image, mask = defective_image(200 + number)
            save(tmp_path / f"parts/test/square/{number}.jpg", image, quality=97, exif=exif)
            save(tmp_path / f"parts/ground_truth/square/{number}_mask.png", mask)
            save(tmp_path / f"parts/test/good/{number}.jpg", good_image(number), quality=97, exif=exif)
            save(tmp_path / f"parts/train/good/{number}.png", good_image(50 + number))
        words = "4 of 4 masks ('{}' for one) belong to photos that their EXIF orientation turns upright"
        words = words.format(tmp_path / "parts/ground_truth/square/0_mask.png")
        report = tmp_path / "report.json"
        assert main(["data", "check", str(tmp_path / "parts"), "--json", str(report)]) == 0
        assert any(words in line for line in json.loads(report.read_text())["warnings"])
        assert main(["eval", str(place / "run"), str(tmp_path / "parts"), "--json", str(report)]) == 0
        assert words in capsys.readouterr().err
        assert any(words in line for line in json.loads(report.read_text())["warnings"])

    def test_a_size_that_a_turn_would_explain_says_so(self, tmp_path, capsys):
        exif = Image.Exif()
        exif[274] = 6
        image, mask = defective_image(200)
        save(tmp_path / "parts/test/square/0.jpg", image[:40], exif=exif)
        save(tmp_path / "parts/ground_truth/square/0_mask.png", mask[:40])
        save(tmp_path / "parts/train/good/0.png", good_image(0))
        assert main(["data", "check", str(tmp_path / "parts")]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert "is 72x40 but its image is 40x72; a quarter turn would explain it" in said
