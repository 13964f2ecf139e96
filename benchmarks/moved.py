"""A copy of a category in which every part lies turned and shifted; file names decide angles and shifts."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage


def moved(pixels: np.ndarray, angle: float, shift: np.ndarray, *, mask: bool) -> np.ndarray:
    """An image mirrored at its border, or a mask with nothing beyond."""
    how = {"order": 0, "mode": "constant"} if mask else {"order": 1, "mode": "reflect"}
    turned = ndimage.rotate(pixels, angle, reshape=False, **how)
    offset = np.rint(shift * pixels.shape[:2]).tolist() + [0] * (pixels.ndim - 2)
    return ndimage.shift(turned, offset, **how)


def move_category(source: Path, target: Path, degrees: float, most: float) -> None:
    """Write the copy; a mask moves with the image that it belongs to."""
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        relative = path.relative_to(source)
        mask = relative.parts[0] == "ground_truth"
        of_image = "/".join(relative.with_suffix("").parts[1:]).removesuffix("_mask")
        split = "test" if mask else relative.parts[0]
        rng = np.random.default_rng(zlib.crc32(f"{split}/{of_image}".encode()))
        angle, shift = rng.uniform(-degrees, degrees), rng.uniform(-most, most, 2)
        file = (target / relative).with_suffix(".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(moved(np.asarray(Image.open(path)), angle, shift, mask=mask)).save(file)
