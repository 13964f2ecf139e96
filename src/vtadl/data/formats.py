"""The file formats that are read, by their first bytes; and how many pictures a file holds.

All that Pillow reads of pictures made of pixels. Left out: what runs a program (EPS), what is drawn (WMF), and formats
of one game or one instrument.
"""

import struct
from collections.abc import Callable
from typing import Any, Protocol

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    DdsImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from vtadl.errors import DataError

Decoder = Callable[[Any], ImageFile]


class Named(Protocol):
    """A path, or what stands for one."""

    @property
    def suffix(self) -> str:
        """With its dot."""


IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".apng", ".jfif", ".jpe", ".mpo", ".dib"),
    *(".pgm", ".ppm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".jpc", ".jpf", ".j2c", ".avif", ".avifs"),
    *(".tga", ".pcx", ".qoi", ".sgi", ".bw", ".rgb", ".rgba", ".dds", ".psd", ".ico", ".icb", ".vda", ".vst"),
)
TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")
"""Of the one format without first bytes of its own."""

_BEGINNINGS: tuple[tuple[bytes, Decoder], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"\x28\0\0\0", BmpImagePlugin.DibImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"II+\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0+", TiffImagePlugin.TiffImageFile),
    (b"GIF87a", GifImagePlugin.GifImageFile),
    (b"GIF89a", GifImagePlugin.GifImageFile),
    *((b"P" + kind, PpmImagePlugin.PpmImageFile) for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"f", b"F")),
    (b"\xff\x4f\xff\x51", Jpeg2KImagePlugin.Jpeg2KImageFile),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Jpeg2KImagePlugin.Jpeg2KImageFile),
    (b"qoif", QoiImagePlugin.QoiImageFile),
    (b"\x01\xda", SgiImagePlugin.SgiImageFile),
    *((b"\x0a" + version, PcxImagePlugin.PcxImageFile) for version in (b"\0", b"\x02", b"\x03", b"\x05")),
    (b"DDS ", DdsImagePlugin.DdsImageFile),
    (b"8BPS", PsdImagePlugin.PsdImageFile),
    (b"\0\0\x01\0", IcoImagePlugin.IcoImageFile),
)
_ENTRIES_TAG = 0xB002
_GAIN_MAPS = (b"hdrgm:", b"HDRGainMap")
_REDUCED_TAG = 254
_REDUCED, _TRANSPARENCY = 1, 4
"""Pages of a TIFF that are a preview, or a mask, of another one."""


def decoder_of(beginning: bytes, path: Named) -> Decoder:
    """What decodes a file.

    Args:
        beginning: the file's first 32 bytes.
        path: names it in errors, and tells a TGA.

    Raises:
        DataError: it is empty, or none of the formats.
    """
    if not beginning:
        raise DataError(f"'{path}' is empty (zero bytes); replace or remove it")
    for magic, decoder in _BEGINNINGS:
        if beginning.startswith(magic):
            return decoder
    if beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if beginning[4:8] == b"ftyp" and beginning[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return AvifImagePlugin.AvifImageFile
    if path.suffix.lower() in TGA_SUFFIXES:
        return TgaImagePlugin.TgaImageFile
    raise DataError(
        f"'{path}' is not an image; expected PNG, JPEG, BMP, TIFF, WebP, GIF or another format that Pillow reads, "
        "whatever its name"
    )


def frame_count(image: ImageFile) -> int:
    """How many pictures an opened file holds: pages of a TIFF but previews, frames of an animation."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _page_count(image)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return _jpeg_count(image)
    if isinstance(image, PsdImagePlugin.PsdImageFile | IcoImagePlugin.IcoImageFile):
        return 1  # Layers and sizes of one picture.
    return int(getattr(image, "n_frames", 1))


def _jpeg_count(image: JpegImagePlugin.JpegImageFile) -> int:
    """Pictures of a multi-picture file (MPO); previews, and what phones add to make a photo brighter, are none."""
    if "mp" not in image.info:
        return 1
    segments = (content for name, content in image.applist if name == "APP1")
    if any(mark in content for content in segments for mark in _GAIN_MAPS):
        return 1
    try:
        entries = image._getmp()[_ENTRIES_TAG]  # type: ignore[index]
        kinds = [entry["Attribute"]["MPType"] for entry in entries]
    except (KeyError, TypeError, ValueError, SyntaxError, IndexError, struct.error):
        return 1  # A damaged index does not make the first picture unusable.
    return max(sum("Thumbnail" not in kind for kind in kinds), 1)


def _page_count(image: TiffImagePlugin.TiffImageFile) -> int:
    pages = image.n_frames
    if pages == 1:
        return 1
    count = 0
    for page in range(pages):
        image.seek(page)
        count += not int(image.tag_v2.get(_REDUCED_TAG, 0)) & (_REDUCED | _TRANSPARENCY)
    image.seek(0)
    return max(count, 1)
