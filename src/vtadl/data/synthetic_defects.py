"""Synthetic defects in good images, to choose between detectors without a look at any real defect.

Six kinds: a stain, a scratch, a piece from elsewhere (C. Li et al., CutPaste, CVPR 2021), a piece that is out of its
place, a smear that wipes the texture out, and an area that is darker or brighter.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

VISIBLE = 0.02
"""Least change of a pixel, in [0, 1], that makes it part of the defect."""
LEAST_PIXELS = 12
ATTEMPTS = 20


def add_defect(image_3HW: Image, kind: str, rng: np.random.Generator) -> tuple[Image, Mask] | None:
    """An image with a defect of a kind.

    Args:
        image_3HW: ``(3, H, W)`` in [0, 1].
        kind: a key of `KINDS`.
        rng: decides everything else.

    Returns:
        The new image and where it visibly differs, ``(H, W)``; ``None`` where nothing could be seen (a piece of a plain
        background moved over the same background).
    """
    for _ in range(ATTEMPTS):
        changed_3HW = np.clip(KINDS[kind](image_3HW, rng), 0, 1).astype(np.float32)
        mask_HW = np.abs(changed_3HW - image_3HW).max(0) > VISIBLE
        mask_HW = ndimage.binary_closing(mask_HW, iterations=2) | mask_HW
        if mask_HW.sum() >= LEAST_PIXELS:
            return changed_3HW, mask_HW
    return None


def add_each_defect(
    image_3HW: Image, kinds: Iterable[str], inside_HW: Mask, seed: tuple[int, ...]
) -> Iterator[tuple[str, Image, Mask]]:
    """An image with a defect of each kind that can be seen in it: the kind, and as `add_defect` gives, but only
    inside.
    """
    for kind in kinds:
        synthetic = add_defect(image_3HW, kind, np.random.default_rng((*seed, list(KINDS).index(kind))))
        if synthetic is not None:
            changed_3HW, mask_HW = synthetic
            yield kind, np.where(inside_HW, changed_3HW, image_3HW), mask_HW & inside_HW


def _stain(image_3HW: Image, rng: np.random.Generator) -> Image:
    alpha_HW = _blob(image_3HW.shape[1:], rng, rng.uniform(0.02, 0.12)) * rng.uniform(0.3, 0.9)
    colour = rng.uniform(0, 1, (3, 1, 1))
    return np.asarray(image_3HW + alpha_HW * (colour - image_3HW), np.float32)


def _scratch(image_3HW: Image, rng: np.random.Generator) -> Image:
    height, width = image_3HW.shape[1:]
    length, angle = rng.uniform(0.08, 0.35) * height, rng.uniform(0, np.pi)
    bend = rng.uniform(-0.5, 0.5)
    along = np.linspace(-0.5, 0.5, 4 * height)
    rows = rng.uniform(0.15, 0.85) * height + length * (along * np.sin(angle) + bend * along**2 * np.cos(angle))
    columns = rng.uniform(0.15, 0.85) * width + length * (along * np.cos(angle) - bend * along**2 * np.sin(angle))
    line_HW = np.zeros((height, width), np.float32)
    line_HW[np.clip(rows, 0, height - 1).astype(int), np.clip(columns, 0, width - 1).astype(int)] = 1
    sigma = rng.uniform(0.6, 1.8)
    alpha_HW = np.minimum(ndimage.gaussian_filter(line_HW, sigma) * sigma * 2.5, 1)
    return np.asarray(image_3HW + alpha_HW * rng.choice([-1, 1]) * rng.uniform(0.15, 0.5), np.float32)


def _foreign(image_3HW: Image, rng: np.random.Generator) -> Image:
    height, width = image_3HW.shape[1:]
    shift = int(rng.uniform(0.2, 0.8) * height), int(rng.uniform(0.2, 0.8) * width)
    moved_3HW = np.rot90(np.roll(image_3HW, shift, (1, 2)), 2, (1, 2))
    alpha_HW = _blob((height, width), rng, rng.uniform(0.03, 0.2))
    return np.asarray(image_3HW + alpha_HW * (moved_3HW - image_3HW), np.float32)


def _misplaced(image_3HW: Image, rng: np.random.Generator) -> Image:
    height, width = image_3HW.shape[1:]
    high, wide = (int(rng.uniform(0.15, 0.5) * side) for side in (height, width))
    top, left = rng.integers(0, height - high), rng.integers(0, width - wide)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.15)
    shift = int(distance * height * np.sin(angle)), int(distance * width * np.cos(angle))
    changed_3HW = image_3HW.copy()
    piece = np.s_[:, top : top + high, left : left + wide]
    changed_3HW[piece] = np.roll(image_3HW, shift, (1, 2))[piece]
    return changed_3HW


def _smear(image_3HW: Image, rng: np.random.Generator) -> Image:
    alpha_HW = _blob(image_3HW.shape[1:], rng, rng.uniform(0.05, 0.2))
    sigmas = rng.permutation([rng.uniform(4, 12), rng.uniform(0, 2)])
    smooth_3HW = ndimage.gaussian_filter(image_3HW, (0, *sigmas), mode="nearest")
    return np.asarray(image_3HW + alpha_HW * (smooth_3HW - image_3HW), np.float32)


def _shaded(image_3HW: Image, rng: np.random.Generator) -> Image:
    alpha_HW = _blob(image_3HW.shape[1:], rng, rng.uniform(0.1, 0.35))
    factor = np.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 0.6))
    return np.asarray(image_3HW * (1 + alpha_HW * (factor - 1)), np.float32)


KINDS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "stain": _stain,
    "scratch": _scratch,
    "foreign": _foreign,
    "misplaced": _misplaced,
    "smear": _smear,
    "shaded": _shaded,
}


def _blob(shape: tuple[int, ...], rng: np.random.Generator, radius: float) -> NDArray[np.float32]:
    """An irregular spot with soft edges, 1 inside; ``radius`` in shares of the height."""
    height, width = shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    row, column = rng.uniform(0.1, 0.9) * height, rng.uniform(0.1, 0.9) * width
    angle = np.arctan2(rows - row, columns - column)
    waves = sum(rng.uniform(-0.2, 0.2) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 5))
    edge = radius * height * (1 + waves)
    distance = np.hypot(rows - row, (columns - column) * rng.uniform(0.5, 2))
    return np.asarray(np.clip((edge - distance) / 2 + 0.5, 0, 1), np.float32)
