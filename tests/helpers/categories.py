"""Small categories of real files for tests: good parts are stripes, defects are bright squares."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 72


def good_image(seed: int, side: int = SIDE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.arange(side)
    stripes = 120 + 50 * np.sin(x / 4 + rng.uniform(0, 0.5))[None, :, None] * np.ones((side, 1, 3))
    return np.clip(stripes + rng.normal(0, 4, (side, side, 3)), 0, 255).astype(np.uint8)


def defective_image(seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    image, mask = good_image(seed, side), np.zeros((side, side), np.uint8)
    row, column = np.random.default_rng(seed + 1000).integers(8, side - 24, 2)
    image[row : row + 14, column : column + 14] = (230, 40, 40)
    mask[row : row + 14, column : column + 14] = 255
    return image, mask


def make_category(root: Path, *, train: int = 12, good: int = 4, defective: int = 4, masks: bool = True) -> Path:
    """An MVTec-layout category."""
    for index in range(train):
        _save(root / "train/good" / f"{index:03}.png", good_image(index))
    for index in range(good):
        _save(root / "test/good" / f"{index:03}.png", good_image(100 + index))
    for index in range(defective):
        image, mask = defective_image(200 + index)
        _save(root / "test/square" / f"{index:03}.png", image)
        if masks:
            _save(root / "ground_truth/square" / f"{index:03}_mask.png", mask)
    return root


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
