"""The demo set: layout, exact masks, determinism, and nothing left behind by a run that fails."""

import functools
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawn import dataset as demo
from drawn.dataset import PRODUCTS, Shot, make_demo, render_shot
from drawn.rendering import photograph, render
from vtadl.data.layouts import read_category
from vtadl.errors import DataError

SIZE = 128
COUNT = 5
FLAWS = [(category, defect) for category, product in PRODUCTS.items() for defect in product.flaws]


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def good_flange(*, seed: int, index: int, size: int) -> np.ndarray:
    image, mask = render_shot(Shot(seed=seed, category="flange", split="train", label="good", index=index), size)
    assert mask is None
    return image


@functools.cache
def change_and_mask(category: str, defect: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """What a flaw changed, in grey levels: against the same part in the same light, with the same noise."""
    product = PRODUCTS[category]
    shot = Shot(seed=0, category=category, split="test", label=defect, index=index)
    part_rng, scene_rng, noise_rng, _ = shot.generators()
    scene = product.make_scene(product.make_part(part_rng, SIZE), scene_rng)
    good = photograph(render(scene.surface, scene.lighting, scene.camera.blur), scene.camera, noise_rng)
    image, mask = render_shot(shot, SIZE)
    return np.abs(image.astype(int) - good).max(-1), mask > 0


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "set"
    make_demo(root, train=3, test_good=2, test_per_defect=2, size=64)
    return root


def test_the_set_is_an_mvtec_layout_with_the_counts_asked_for(small_set):
    for name, product in PRODUCTS.items():
        category = read_category(small_set / name)
        assert category.layout == "mvtec"
        assert len(category.train) == 3
        labels = [sample.label for sample in category.test]
        assert {label: labels.count(label) for label in labels} == {"good": 2, **dict.fromkeys(product.flaws, 2)}
        assert all(sample.mask and sample.mask.is_file() for sample in category.test if sample.is_defective)
        masks = list((small_set / name / "ground_truth").rglob("*.png"))
        assert len(masks) == 2 * len(product.flaws)


def test_images_are_rgb_and_masks_are_black_and_white(small_set):
    for path in small_set.rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (64, 64)
            assert image.mode == ("L" if path.name.endswith("_mask.png") else "RGB")
            if image.mode == "L":
                assert set(np.unique(np.asarray(image))) == {0, 255}


def test_no_two_images_are_alike(small_set):
    images = [data for name, data in files(small_set).items() if "ground_truth" not in name]
    assert len(set(images)) == len(images) == 2 * (3 + 2 + 4 * 2)


def test_the_same_seed_gives_the_same_bytes_however_many_images_are_made(small_set, tmp_path):
    returned = make_demo(tmp_path / "again", train=1, test_good=1, test_per_defect=1, size=64)
    assert returned == [tmp_path / "again" / name for name in PRODUCTS]
    again, before = files(tmp_path / "again"), files(small_set)
    assert len(again) == 2 * (1 + 1 + 4 * 2)
    assert all(before[name] == data for name, data in again.items())


def test_another_seed_gives_other_images():
    first, second = (good_flange(seed=seed, index=0, size=64) for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("category", "defect"), FLAWS)
def test_a_flaw_alters_the_pixels_of_its_mask_and_no_others(category, defect):
    for index in range(COUNT):
        change, mask = change_and_mask(category, defect, index)
        assert mask.any(), "an image of a defect shows one"
        assert not change[~mask].any()
        assert np.mean(change[mask] > 2) > 0.5, f"index {index}: most of the mask shows the flaw"


@pytest.mark.parametrize(("category", "defect"), FLAWS)
def test_flaws_are_visible_and_vary(category, defect):
    pairs = [change_and_mask(category, defect, index) for index in range(COUNT)]
    contrasts = [np.quantile(change[mask], 0.9) for change, mask in pairs]
    assert min(contrasts) >= 6, "even the hardest stands out from noise of 2 grey levels or so"
    assert max(contrasts) >= 25, "some are obvious"
    assert len({tuple(np.argwhere(mask).mean(0).round()) for _, mask in pairs}) == COUNT
    areas = [int(mask.sum()) for _, mask in pairs]
    assert len(set(areas)) >= 3
    assert max(areas) < 0.2 * SIZE**2


@pytest.mark.parametrize(("category", "defect"), FLAWS)
def test_no_flaw_ever_misses_the_part(category, defect):
    product = PRODUCTS[category]
    for index in range(30):
        shot = Shot(seed=1, category=category, split="test", label=defect, index=index)
        part_rng, scene_rng, _, flaw_rng = shot.generators()
        part = product.make_part(part_rng, 96)
        surface = product.make_scene(part, scene_rng).surface
        _, footprint = product.flaws[defect](flaw_rng, part, surface, 0.0)
        assert footprint.sum() >= 4, f"index {index}"


def test_good_images_vary_less_than_flaws_show():
    good = np.stack([good_flange(seed=0, index=index, size=SIZE) for index in range(6)]).astype(float)
    assert 1 < good.std(0).mean() < 25
    assert np.mean(good == 255) < 0.01, "highlights keep their detail"


@pytest.mark.parametrize(
    ("failure", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left on device"), DataError)]
)
def test_a_run_that_fails_leaves_nothing(tmp_path, monkeypatch, failure, seen):
    tried = []

    def fail_late(shot, size):
        tried.append(shot)
        if shot.index == 2:
            assert any(tmp_path.rglob("*.png")), "it was under way"
            raise failure
        return render_shot(shot, size)

    monkeypatch.setattr(demo, "render_shot", fail_late)
    with pytest.raises(seen):
        make_demo(tmp_path / "set", train=20, test_good=20, test_per_defect=20, size=32)
    assert len(tried) < 50, "what was not begun is given up"
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_image(tmp_path):
    counted = []

    @contextmanager
    def counting(label, total):
        yield lambda count, note="": counted.append((label, total, count))

    make_demo(tmp_path / "set", train=1, test_good=1, test_per_defect=1, size=32, progress=counting)
    assert counted == [("rendering", 12, 1)] * 12


def test_an_empty_folder_is_filled_and_a_full_one_left_alone(tmp_path):
    root = tmp_path / "deep" / "set"
    root.mkdir(parents=True)
    make_demo(root, train=1, test_good=1, test_per_defect=1, size=32)
    before = files(root)
    with pytest.raises(DataError, match="is not an empty folder"):
        make_demo(root, train=1, test_good=1, test_per_defect=1, size=32)
    assert files(root) == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("holiday")
    with pytest.raises(DataError, match=r"cannot write '.*file/set'"):
        make_demo(tmp_path / "file" / "set", train=1, test_good=1, test_per_defect=1, size=32)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "set").write_text("holiday")
    with pytest.raises(DataError, match=r"set' exists"):
        make_demo(tmp_path / "set")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train": 0}, "at least 1 image for train; got 0"),
        ({"test_per_defect": -1}, "at least 1 image for test_per_defect; got -1"),
        ({"size": 8}, "at least 32 pixels a side; got 8"),
        ({"seed": -1}, "seed is not negative; got -1"),
    ],
)
def test_wrong_counts_are_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(DataError, match=message):
        make_demo(tmp_path / "set", **wrong)
    assert list(tmp_path.iterdir()) == []
