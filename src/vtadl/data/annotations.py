"""Masks drawn as polygons: one JSON an image by labelme, or one of many images in COCO's format.

Sources: labelme 5 (``label_file.py``, ``utils/shape.py``); T.-Y. Lin et al., Microsoft COCO, 2014, and its data format
(cocodataset.org/#format-data).
"""

import base64
import binascii
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtadl.data.decoding import MAX_PIXELS
from vtadl.data.images import pixels_of
from vtadl.data.polygons import fill_polygon, fill_runs, polygon_of
from vtadl.errors import DataError

MAX_BYTES = 2**30
_DAMAGE = (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, binascii.Error)


class OtherJsonError(DataError):
    """JSON that is neither labelme's nor COCO's."""


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """What is drawn on one image of a COCO file."""

    name: PurePosixPath
    """Its ``file_name``, with forward slashes."""
    size: tuple[int, int]
    """Height and width."""
    shapes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """A file of annotations."""

    path: Path
    images: Mapping[str, Sequence[Annotated]] | None
    """COCO's, by the last part of their names; ``None`` of labelme's, which are of one image."""
    labelme: Mapping[str, Any]

    @property
    def first(self) -> PurePosixPath | None:
        """The first image that COCO draws on."""
        entries = [entry for entries in (self.images or {}).values() for entry in entries]
        return next((entry.name for entry in entries if entry.shapes), None)

    def entry(self, image: Path) -> Annotated | None:
        """What a COCO file says of an image: the entry whose ``file_name`` its path ends in, the longest such name.

        Raises:
            DataError: several names fit equally well.
        """
        parts = image.parts
        assert self.images is not None, "labelme's annotations have no entries"
        found = [e for e in self.images.get(image.name, ()) if parts[-len(e.name.parts) :] == e.name.parts]
        found.sort(key=lambda entry: -len(entry.name.parts))
        if len(found) > 1 and found[0].name == found[1].name:
            raise DataError(f"'{self.path}' has several entries for '{found[0].name}'; keep one")
        return found[0] if found else None

    def is_of(self, image: Path) -> bool:
        """Whether the file is about an image: it names it, or, of labelme, is named like it."""
        if self.images is not None:
            return self.entry(image) is not None
        return self.path.with_suffix("") == image.with_suffix("")

    def draws_on(self, image: Path) -> bool:
        """Whether there is any shape on an image."""
        if self.images is None:
            return bool(self.labelme["shapes"])
        entry = self.entry(image)
        return entry is not None and bool(entry.shapes)


def read_annotations(path: Path) -> Annotations:
    """Read a file of annotations, once while it stays as it is.

    Raises:
        OtherJsonError: it is neither labelme's nor COCO's.
        DataError: it cannot be read.
    """
    try:
        status = path.stat()
        if status.st_size > MAX_BYTES:
            raise DataError(f"'{path}' has {status.st_size:,} bytes; expected at most {MAX_BYTES:,} of annotations")
        return _parsed(path, (status.st_mtime_ns, status.st_size))
    except DataError:
        raise
    except (OSError, RecursionError, *_DAMAGE) as error:
        raise DataError(f"cannot read annotations from '{path}': {error!r}; export them again") from error


@lru_cache(maxsize=4)
def _parsed(path: Path, _changed: tuple[int, int]) -> Annotations:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict) and isinstance(content.get("shapes"), list):
        return Annotations(path=path, images=None, labelme=content)
    if isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content:
        return Annotations(path=path, images=_coco_images(content), labelme={})
    raise OtherJsonError(
        f'\'{path}\' holds no annotations: expected labelme\'s "shapes", or COCO\'s "images" and "annotations"'
    )


def _coco_images(content: Mapping[str, Any]) -> dict[str, list[Annotated]]:
    shapes: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        shapes[str(annotation["image_id"])].append(annotation)
    images: defaultdict[str, list[Annotated]] = defaultdict(list)
    names: dict[str, PurePosixPath] = {}
    for image in content["images"]:
        name = PurePosixPath(str(image["file_name"]).replace("\\", "/"))
        size = _size_of(image["height"], image["width"])
        number = str(image["id"])
        if names.setdefault(number, name) != name:
            raise ValueError(f"two images have the id {number}, '{names[number]}' and '{name}'")
        images[name.name].append(Annotated(name=name, size=size, shapes=tuple(shapes[number])))
    return dict(images)


def annotated_values(path: Path, image: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The mask of an image from a file of annotations; its height and width serve a file that does not state them.

    Returns:
        ``(H, W)`` of the size that the file states, 255 inside any shape and 0 elsewhere.

    Raises:
        DataError: the file cannot be read, does not name the image, or holds a shape without an area.
    """
    found = read_annotations(path)
    try:
        mask = _labelme_mask(found.labelme, size) if found.images is None else _coco_mask(found, image)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"'{path}' has a shape on '{image.name}' that is no area: {error}; draw it again") from error
    return np.where(mask, np.uint8(255), np.uint8(0))


def _size_of(height: Any, width: Any) -> tuple[int, int]:
    size = (int(height), int(width))
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"an image of {size[1]}x{size[0]} pixels")
    return size


def _coco_mask(annotations: Annotations, image: Path) -> NDArray[np.bool_]:
    entry = annotations.entry(image)
    if entry is None:
        raise DataError(
            f"'{annotations.path}' names no image '{image.name}'; annotate it, or take the image out of the set"
        )
    mask = np.zeros(entry.size, dtype=np.bool_)
    for annotation in entry.shapes:
        mask |= _segmented(annotation.get("segmentation"), entry.size)
    return mask


def _segmented(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != size:
            raise ValueError(f"run lengths of {segmentation['size']} in an image of {list(size)}")
        return fill_runs(segmentation["counts"], size)
    if not segmentation:
        raise ValueError("an annotation without a segmentation, such as a box alone")
    mask = np.zeros(size, dtype=np.bool_)
    for flat in segmentation:
        if len(flat) % 2:
            raise ValueError(f"a polygon of {len(flat)} numbers")
        mask |= fill_polygon(polygon_of(list(zip(flat[::2], flat[1::2], strict=True))), size)
    return mask


def _labelme_mask(content: Mapping[str, Any], size: tuple[int, int] | None) -> NDArray[np.bool_]:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if height is not None and width is not None:
        size = _size_of(height, width)
    if size is None:
        raise ValueError("neither imageHeight nor imageWidth")
    mask = np.zeros(size, dtype=np.bool_)
    for shape in content["shapes"]:
        mask |= _shape_mask(shape, size)
    return mask


def _shape_mask(shape: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "polygon":
        return fill_polygon(polygon_of(points), size)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points[0], points[len(points) // 2]  # two opposite corners, or all four in turn
        return fill_polygon(polygon_of([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), size)
    if kind == "circle":
        (x, y), (edge_x, edge_y) = points
        rows, columns = np.ogrid[: size[0], : size[1]]
        distance_squared = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2
        return np.asarray(distance_squared <= (edge_x - x) ** 2 + (edge_y - y) ** 2)
    if kind == "mask":
        return _pasted(pixels_of(base64.b64decode(shape["mask"]))[:, :, 0] > 0, points[0], size)
    raise ValueError(f"shape_type {kind!s:.40}, where a polygon, rectangle, circle or mask is expected")


def _pasted(drawn: NDArray[np.bool_], corner: Sequence[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    left, top = (round(float(value)) for value in corner)
    bottom, right = top + drawn.shape[0], left + drawn.shape[1]
    if left < 0 or top < 0 or bottom > size[0] or right > size[1]:
        raise ValueError("a mask that lies outside the image")
    mask = np.zeros(size, dtype=np.bool_)
    mask[top:bottom, left:right] = drawn
    return mask
