"""Anomaly maps that any tool saved: finding the one of each image, reading it, and the traps that make metrics
wrong.
"""

import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vtadl.data.decoding import MAX_PIXELS
from vtadl.data.resizing import resize_map
from vtadl.data.walk import NOT_BY_NAME, LeftOut, walk
from vtadl.errors import DataError

MAX_BYTES = 8 * MAX_PIXELS
SUFFIXES = (".npy", ".npz", ".tiff", ".tif", ".png")
_PICTURE_MODES = ("L", "I", "I;16", "I;16L", "I;16B", "F")


TEST = "test"
"""The folder of test images in most layouts; tools often leave it out."""


def find_maps(folder: Path, images: Iterable[str]) -> dict[str, Path]:
    """Find the anomaly map of each image.

    Args:
        folder: mirrors the category: the map of ``test/cut/001.png`` is ``test/cut/001``, or where the folder has no
            ``test`` in it ``cut/001``, with one of `SUFFIXES`.
        images: paths relative to the category, with forward slashes.

    Returns:
        The file for each image that has one, in the order of the images.

    Raises:
        DataError: no such folder, no map in it for any image, or two for one image.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder; expected one with an anomaly map for each test image")
    images = list(images)
    stems: dict[PurePosixPath, str] = {}
    for image in images:
        other = stems.setdefault(PurePosixPath(image).with_suffix(""), image)
        if other != image:
            raise DataError(f"'{other}' and '{image}' would share one anomaly map; rename one of them and its map")
    found: dict[str, Path] = {}
    if not (folder / TEST).is_dir():
        shorter = {stem.relative_to(TEST): image for stem, image in stems.items() if stem.is_relative_to(TEST)}
        stems |= {stem: image for stem, image in shorter.items() if stem not in stems}
    for path in _files(folder):
        match = stems.get(PurePosixPath(path.relative_to(folder).as_posix()).with_suffix(""))
        if match is not None and match in found:
            raise DataError(f"'{found[match]}' and '{path}' are both maps of '{match}'; remove one")
        if match is not None:
            found[match] = path
    if images and not found:
        example = PurePosixPath(images[0]).with_suffix(".npy")
        there = next((path for path in sorted(folder.rglob("*")) if path.is_file()), None)
        raise DataError(
            f"'{folder}' holds no anomaly map of any test image; expected files such as '{folder / example}'"
            + (f"; found '{there}'" if there else "")
        )
    return {image: found[image] for image in images if image in found}


def read_map(path: Path) -> NDArray[np.floating]:
    """Read an anomaly map as it was stored, in float32 where that is exact and else in float64.

    Returns:
        ``(H, W)`` without NaN.

    Raises:
        DataError: a file that cannot be read, colour, several maps in one file, another shape, or NaN.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"anomaly map '{path}' is no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file; save it as .npy"
        )
    try:
        stored = _read_numpy(path) if suffix in (".npy", ".npz") else _read_picture(path)
    except DataError:
        raise
    except Exception as error:  # A decoder fed with damaged bytes may raise anything.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"anomaly map '{path}' cannot be read ({reason}); save it again, best as .npy") from error
    anomaly_map = _as_floats(path, stored)
    if np.isnan(anomaly_map.max()):
        raise DataError(f"anomaly map '{path}' holds NaN; expected numbers or infinities, larger for more abnormal")
    return anomaly_map


def fit_map(anomaly_map: NDArray[np.floating], size: tuple[int, int], path: Path) -> NDArray[np.floating]:
    """Bring a map to ``(height, width)``; one that has that size already keeps every bit.

    Others are resampled in float32 by bilinear interpolation between pixel centres, antialiased when they shrink.

    Raises:
        DataError: infinities, between which nothing can be interpolated.
    """
    if anomaly_map.shape == size:
        return anomaly_map
    if not np.isfinite(anomaly_map).all():
        raise DataError(
            f"anomaly map '{path}' is {anomaly_map.shape[1]}x{anomaly_map.shape[0]}, its image {size[1]}x{size[0]}, "
            "and it holds infinities, which cannot be resampled; save it at the image's size"
        )
    return resize_map(anomaly_map, size)


@dataclass(frozen=True, kw_only=True)
class MapSummary:
    """What the warnings need to know of a map, so that a million maps need not be kept."""

    name: str
    pixels: int
    low: float
    high: float
    levels: int
    """Distinct values."""
    at_high: int
    """Pixels that have the map's highest value."""


def summarize_map(name: str, anomaly_map: NDArray[np.floating]) -> MapSummary:
    """Summarise a map as it was read, before any resampling."""
    high = anomaly_map.max()
    return MapSummary(
        name=name,
        pixels=anomaly_map.size,
        low=float(anomaly_map.min()),
        high=float(high),
        levels=len(np.unique(anomaly_map)),
        at_high=int(np.count_nonzero(anomaly_map == high)),
    )


def map_warnings(maps: Sequence[MapSummary]) -> list[str]:
    """One line for each known trap that a set of maps shows."""
    varied = [m for m in maps if m.high > m.low]
    found = [*_constant(maps), *_normalised(varied), *_few_levels(varied)]
    return found + _saturated(varied)


def missing_warnings(folder: Path, images: Sequence[str], found: Mapping[str, Path]) -> list[str]:
    """One line on images without a map, and one on maps without an image."""
    lines = []
    missing = [image for image in images if image not in found]
    if missing:
        lines.append(
            f"{len(missing)} of {len(images)} test images have no anomaly map and are left out, "
            f"'{missing[0]}' for one: the metrics are those of another test set"
        )
    left_out = LeftOut()
    spare = sorted(set(_files(folder, left_out)) - set(found.values()))
    del left_out.counts[NOT_BY_NAME]  # A report or a log beside the maps is none of them.
    if line := left_out.line():
        lines.append(line)
    if spare:
        lines.append(f"{len(spare)} anomaly maps belong to no test image, '{spare[0]}' for one")
    return lines


GEOMETRIES = ("whole", "stretched", "center-crop")
"""How a map lies on its image: it has its aspect; it shows all of it, squeezed; it shows the largest square in its
middle."""
ASPECT_TOLERANCE = 0.02
"""How far a map's aspect may be from its image's, as a share of it: grids of patches are rounded."""


def place_map(
    anomaly_map: NDArray[np.floating], size: tuple[int, int], path: Path, geometry: str = "whole"
) -> NDArray[np.floating]:
    """Bring a map to ``(height, width)`` as `fit_map` does, if it can be of the whole image.

    Args:
        anomaly_map: ``(h, w)``.
        size: height and width of its image.
        path: names it in errors.
        geometry: one of `GEOMETRIES`. What a ``center-crop`` does not show gets the map's lowest score.

    Raises:
        DataError: the map has another aspect than the image; as `fit_map`.
    """
    if geometry == "stretched" or (geometry == "whole" and _same_aspect(anomaly_map.shape, size)):
        return fit_map(anomaly_map, size, path)
    height, width = anomaly_map.shape
    if geometry == "center-crop" and height == width:
        side = min(size)
        placed = np.full(size, anomaly_map.min(), anomaly_map.dtype)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        placed[top : top + side, left : left + side] = fit_map(anomaly_map, (side, side), path)
        return placed
    raise DataError(
        f"anomaly map '{path}' is {width}x{height}, its image {size[1]}x{size[0]}: another aspect ratio; "
        f"{_looks_like((height, width), size)}"
    )


def _same_aspect(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    (height, width), (full_height, full_width) = shape, size
    off = abs(width * full_height - height * full_width)
    # A side may have been rounded to a pixel, on either scale.
    rounded = max(full_height, full_width, height, width)
    return off <= max(ASPECT_TOLERANCE * height * full_width, rounded)


def _looks_like(shape: tuple[int, int], size: tuple[int, int]) -> str:
    if _same_aspect(shape[::-1], size):
        return "it looks turned by a quarter: save it as the image is"
    if shape[0] != shape[1]:
        return "it looks cut: save a map of the whole image"
    first = "it looks like a centre crop" if shape[0] == min(size) else "it looks squeezed into a square, or cut to one"
    return (
        f"{first}. Save a map of the whole image, or say what it is: --map-geometry stretched (all of the image, "
        "squeezed), or --map-geometry center-crop (the square in its middle; the rest gets the map's lowest score)"
    )


def negated_hint(auroc: float | None) -> list[str]:
    """One line where maps rank defects so far below good pixels, by their AUROC, that their sign must be wrong."""
    if auroc is None or auroc >= 0.2:
        return []
    return [
        f"an AUROC of {auroc:.4f} is that of a good detector turned round: do the maps hold small numbers where it is "
        "abnormal? Larger must mean more abnormal; negate them"
    ]


def _files(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    try:
        return sorted(walk(folder, left_out, suffixes=SUFFIXES))
    except OSError as error:
        raise DataError(f"cannot list '{folder}': {error.strerror}; check its permissions") from error


def _read_numpy(path: Path) -> NDArray[np.generic]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > MAX_BYTES:
            raise DataError(
                f"anomaly map '{path}' unpacks to {size:,} bytes, expected {MAX_BYTES:,} at most; save floats"
            )
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        if len(loaded.files) != 1:
            names = ", ".join(loaded.files[:4]) or "none"
            raise DataError(f"anomaly map '{path}' holds {len(loaded.files)} arrays ({names}); expected one, the map")
        array = loaded[loaded.files[0]]
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of a member that does not begin like an array.
            raise DataError(f"anomaly map '{path}' holds no array but other bytes; save it again, best as .npy")
        return array


def _read_picture(path: Path) -> NDArray[np.generic]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # No other formats, whatever the bytes say: for some, Pillow starts another program.
        with Image.open(path, formats=("PNG", "TIFF")) as picture:
            if getattr(picture, "n_frames", 1) != 1:
                raise DataError(f"anomaly map '{path}' holds {getattr(picture, 'n_frames', 1)} pages; expected one map")
            if picture.mode not in _PICTURE_MODES:
                raise DataError(
                    f"anomaly map '{path}' is a picture of mode {picture.mode}; expected one channel of scores "
                    "(16-bit grey or float), not colours"
                )
            return np.asarray(picture)


def _as_floats(path: Path, stored: NDArray[np.generic]) -> NDArray[np.floating]:
    if stored.dtype.kind not in "fiu" or stored.dtype.itemsize > 8:
        raise DataError(f"anomaly map '{path}' holds {stored.dtype}; expected real numbers of at most 64 bits")
    shape = [side for side in stored.shape if side != 1] if stored.ndim > 2 else list(stored.shape)
    if len(shape) != 2 or stored.size == 0:
        raise DataError(f"anomaly map '{path}' has the shape {stored.shape}; expected (height, width)")
    exact = np.float32 if stored.dtype.itemsize <= (4 if stored.dtype.kind == "f" else 2) else np.float64
    return np.ascontiguousarray(stored.reshape(shape), dtype=exact)


def _constant(maps: Sequence[MapSummary]) -> list[str]:
    constant = [m for m in maps if m.high == m.low]
    if not constant:
        return []
    return [f"{len(constant)} of {len(maps)} anomaly maps are constant, '{constant[0].name}' for one: nothing is shown"]


def _normalised(maps: Sequence[MapSummary]) -> list[str]:
    ends = {(m.low, m.high) for m in maps}
    if len(maps) < 3 or len(ends) > 1 or all(m.at_high > 0.01 * m.pixels for m in maps):
        return []
    ((low, high),) = ends
    return [
        f"each anomaly map runs from exactly {low:g} to exactly {high:g}: they look normalised per image, so good "
        "images score as high as defective ones; save raw scores, or scale all maps alike"
    ]


def _few_levels(maps: Sequence[MapSummary]) -> list[str]:
    coarse = [m for m in maps if m.levels <= 256 and m.pixels > 4 * m.levels]
    if 2 * len(coarse) <= len(maps):
        return []
    return [
        f"{len(coarse)} of {len(maps)} anomaly maps have 256 distinct values or fewer, as 8-bit maps have: most pixels "
        "are tied, and metrics at low false positive rates are interpolated across the ties; save floats or 16 bits"
    ]


def _saturated(maps: Sequence[MapSummary]) -> list[str]:
    highest = max((m.high for m in maps), default=0.0)
    saturated = [m for m in maps if m.high == highest and m.at_high > 1]
    share = sum(m.at_high for m in saturated) / max(sum(m.pixels for m in maps), 1)
    if share < 0.001:
        return []
    return [
        f"{share:.2%} of all pixels have the highest score, {highest:g}, in {len(saturated)} anomaly maps: they look "
        "saturated (a sigmoid or a clip), which ties what should be ranked; save scores before it"
    ]
