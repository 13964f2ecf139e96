"""The demo set: two products rendered from a seed in MVTec layout, good ones and flawed ones with exact masks."""

import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from drawn import fabric as demo_texture
from drawn import flange as demo_object
from drawn.rendering import SUPERSAMPLING, Mask, Scene, Surface, photograph, render
from vtadl.data.layouts import GOOD
from vtadl.errors import DataError
from vtadl.progress import Progress, silent
from vtadl.threads import thread_count

SMALLEST_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Product:
    """How a category's images are made: a part, the scene it stands in, and what can be wrong with it."""

    make_part: Callable[[np.random.Generator, int], Any]
    make_scene: Callable[[Any, np.random.Generator], Scene]
    flaws: dict[str, Callable[[np.random.Generator, Any, Surface, float], tuple[Surface, Mask]]]


PRODUCTS = {
    "fabric": Product(make_part=demo_texture.make_cloth, make_scene=demo_texture.make_scene, flaws=demo_texture.FLAWS),
    "flange": Product(make_part=demo_object.make_part, make_scene=demo_object.make_scene, flaws=demo_object.FLAWS),
}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Which image of the set: all that it depends on, but for its size."""

    seed: int
    category: str
    split: str
    label: str
    """``good`` or the kind of defect."""
    index: int

    def generators(self) -> list[np.random.Generator]:
        """Independent random numbers for the part, the scene, the camera's noise and the flaw."""
        names = [zlib.crc32(name.encode()) for name in (self.category, self.split, self.label)]
        return [np.random.default_rng([self.seed, *names, self.index, purpose]) for purpose in range(4)]


def make_demo(
    root: Path,
    *,
    seed: int = 0,
    train: int = 60,
    test_good: int = 15,
    test_per_defect: int = 8,
    size: int = 256,
    progress: Progress = silent,
) -> list[Path]:
    """Write the categories of the demo set under ``root``, all or nothing.

    An image depends on the seed, its category, split, defect and number, not on how many others are made. A process
    that is killed outright (SIGKILL) leaves a hidden folder ``.NAME-...`` beside ``root``, which may be deleted.

    Args:
        root: a folder that does not exist yet, or is empty.
        seed: not negative; another seed gives other images of the same products.
        train: good images for training.
        test_good: good images for testing.
        test_per_defect: defective images of each kind.
        size: side of the square images in pixels.
        progress: shows how far it is.

    Returns:
        The categories' folders.

    Raises:
        DataError: ``root`` is in the way or cannot be written, or the seed, a count or the size is too small.
    """
    root = Path(root)
    _check(root, seed, train, test_good, test_per_defect, size)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
            made = Path(scratch) / root.name
            _write_all(made, _plan(seed, train, test_good, test_per_defect), size, progress)
            if root.exists():
                root.rmdir()  # it is empty, but not every system renames onto a folder
            made.replace(root)
    except OSError as error:
        raise DataError(f"cannot write '{root}': {error.strerror or error}; name a folder with room for it") from error
    return [root / category for category in PRODUCTS]


def render_shot(shot: Shot, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    """One image ``(H, W, 3)`` and, if it is defective, its mask ``(H, W)`` of 0 and 255.

    The mask marks the pixels that the flaw altered: without it, all other pixels would be the same to the bit.
    """
    product = PRODUCTS[shot.category]
    part_rng, scene_rng, noise_rng, flaw_rng = shot.generators()
    part = product.make_part(part_rng, size)
    scene = product.make_scene(part, scene_rng)
    light_CHW = render(scene.surface, scene.lighting, scene.camera.blur)
    if shot.label == GOOD:
        return photograph(light_CHW, scene.camera, noise_rng), None
    flawed, footprint_HW = product.flaws[shot.label](flaw_rng, part, scene.surface, _severity(shot.index))
    altered_HW = footprint_HW.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).any((1, 3))
    # Blur and shadow spill a little beyond the flaw itself: what lies outside its footprint stays as it was.
    light_CHW = np.where(altered_HW, render(flawed, scene.lighting, scene.camera.blur), light_CHW)
    return photograph(light_CHW, scene.camera, noise_rng), np.where(altered_HW, 255, 0).astype(np.uint8)


def _severity(index: int) -> float:
    """Between 0 (hard to see) and 1 (obvious), spread evenly however many images there are."""
    golden = (np.sqrt(5) - 1) / 2
    return float((index + 1) * golden % 1)


def _plan(seed: int, train: int, test_good: int, test_per_defect: int) -> list[Shot]:
    shots = []
    for category, product in PRODUCTS.items():
        counts = {("train", GOOD): train, ("test", GOOD): test_good}
        counts |= {("test", defect): test_per_defect for defect in product.flaws}
        shots += [
            Shot(seed=seed, category=category, split=split, label=label, index=index)
            for (split, label), count in counts.items()
            for index in range(count)
        ]
    return shots


def _write_all(root: Path, shots: Sequence[Shot], size: int, progress: Progress) -> None:
    executor = ThreadPoolExecutor(min(thread_count(), 4), thread_name_prefix="vtadl-demo")
    try:
        with progress("rendering", len(shots)) as advance:
            for _ in executor.map(lambda shot: _write(root, shot, size), shots):
                advance(1)
    finally:
        executor.shutdown(cancel_futures=True)


def _write(root: Path, shot: Shot, size: int) -> None:
    image_HWC, mask_HW = render_shot(shot, size)
    folder, name = root / shot.category, f"{shot.index:03d}"
    _save(folder / shot.split / shot.label / f"{name}.png", image_HWC)
    if mask_HW is not None:
        _save(folder / "ground_truth" / shot.label / f"{name}_mask.png", mask_HW)


def _save(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=3)


def _check(root: Path, seed: int, train: int, test_good: int, test_per_defect: int, size: int) -> None:
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"'{root}' exists and is not an empty folder; name a new folder for the demo set")
    for name, count in (("train", train), ("test_good", test_good), ("test_per_defect", test_per_defect)):
        if count < 1:
            raise DataError(f"the demo set needs at least 1 image for {name}; got {count}")
    if seed < 0:
        raise DataError(f"the demo set's seed is not negative; got {seed}")
    if size < SMALLEST_SIZE:
        raise DataError(f"the demo set's images are at least {SMALLEST_SIZE} pixels a side; got {size}")
