"""What is read of pictures and masks, and what is refused: the tables behind the tests and behind docs/formats.md."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 12, 17
_RNG = np.random.default_rng(7)
RGB = _RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
DEEP = _RNG.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
Write = Callable[[Path], object]


def repeated(grey: np.ndarray) -> np.ndarray:
    """A grey picture in three channels."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def png_chunks(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel: Pillow writes no 16-bit colour."""
    kind = 0 if pixels.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


def pillow(pixels: np.ndarray, kind: str, mode: str | None = None, **how: Any) -> Write:
    """Writes with Pillow."""
    image = Image.fromarray(pixels)
    return lambda path: (image.convert(mode) if mode else image).save(path, kind, **how)


def frames(kind: str, **how: Any) -> Write:
    """Writes a good picture and another one after it."""
    first, second = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    return lambda path: first.save(path, kind, save_all=True, append_images=[second], **how)


def bytes_of(content: bytes) -> Write:
    """Writes some bytes."""
    return lambda path: path.write_bytes(content)


def cut(write: Write, share: float) -> Write:
    """Writes the beginning of a file."""

    def written(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return written


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of pictures."""

    name: str
    suffixes: tuple[str, ...]
    holds: str
    """Colours and depths that are tried."""
    files: tuple[tuple[Write, np.ndarray | None], ...]
    """How each is written, and the pixels that are read; ``None`` of a format that loses some."""


FORMATS = (
    Format(
        name="PNG",
        suffixes=(".png", ".apng"),
        holds="1 to 16 bits grey, 8 and 16 bits colour, palettes; alpha is dropped",
        files=(
            (pillow(RGB, "PNG"), RGB),
            (pillow(GREY, "PNG"), repeated(GREY)),
            (pillow(GREY > 127, "PNG"), repeated((GREY > 127) * np.uint8(255))),
            (bytes_of(png_chunks(DEEP[:, :, 0])), repeated(DEEP[:, :, 0])),
            (bytes_of(png_chunks(DEEP)), DEEP),
            (pillow(np.dstack([RGB, GREY]), "PNG"), RGB),
        ),
    ),
    Format(
        name="JPEG",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        holds="8 bits grey, colour, CMYK; turned upright by its EXIF orientation",
        files=((pillow(RGB, "JPEG"), None), (pillow(GREY, "JPEG"), None), (pillow(RGB, "JPEG", "CMYK"), None)),
    ),
    Format(
        name="TIFF",
        suffixes=(".tif", ".tiff"),
        holds="8 and 16 bits grey and colour, 32 bits within 0..65535, floats within 0..1; tiled, big, of either order",
        files=(
            (pillow(RGB, "TIFF"), RGB),
            (pillow(RGB, "TIFF", compression="tiff_lzw"), RGB),
            (lambda path: tifffile.imwrite(path, DEEP, photometric="rgb"), DEEP),
            (lambda path: tifffile.imwrite(path, DEEP[:, :, 0], byteorder=">"), repeated(DEEP[:, :, 0])),
            (lambda path: tifffile.imwrite(path, DEEP[:, :, 0].astype(np.int32)), repeated(DEEP[:, :, 0])),
            (
                lambda path: tifffile.imwrite(path, (DEEP[:, :, 0] / 65535).astype(np.float32)),
                repeated(DEEP[:, :, 0]),
            ),
            (lambda path: tifffile.imwrite(path, GREY, bigtiff=True), repeated(GREY)),
            (lambda path: tifffile.imwrite(path, GREY, tile=(16, 16)), repeated(GREY)),
        ),
    ),
    Format(
        name="BMP",
        suffixes=(".bmp", ".dib"),
        holds="8 bits grey and colour, palettes",
        files=((pillow(RGB, "BMP"), RGB), (pillow(GREY, "BMP"), repeated(GREY))),
    ),
    Format(
        name="WebP",
        suffixes=(".webp",),
        holds="8 bits colour",
        files=((pillow(RGB, "WEBP", lossless=True), RGB), (pillow(RGB, "WEBP"), None)),
    ),
    Format(name="GIF", suffixes=(".gif",), holds="8 bits, palettes", files=((pillow(GREY, "GIF"), repeated(GREY)),)),
    Format(
        name="Netpbm",
        suffixes=(".pgm", ".ppm", ".pbm", ".pnm", ".pfm"),
        holds="8 and 16 bits grey, 8 bits colour",
        files=(
            (pillow(RGB, "PPM"), RGB),
            (pillow(GREY, "PPM"), repeated(GREY)),
            (
                bytes_of(b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + DEEP[:, :, 0].astype(">u2").tobytes()),
                repeated(DEEP[:, :, 0]),
            ),
        ),
    ),
    Format(
        name="JPEG 2000",
        suffixes=(".jp2", ".j2k", ".jpx", ".jpc", ".jpf", ".j2c"),
        holds="8 bits grey and colour",
        files=((pillow(RGB, "JPEG2000"), RGB), (pillow(GREY, "JPEG2000"), repeated(GREY))),
    ),
    Format(name="AVIF", suffixes=(".avif", ".avifs"), holds="8 bits colour", files=((pillow(RGB, "AVIF"), None),)),
    Format(
        name="TGA",
        suffixes=(".tga", ".icb", ".vda", ".vst"),
        holds="8 bits grey and colour",
        files=((pillow(RGB, "TGA"), RGB), (pillow(GREY, "TGA"), repeated(GREY))),
    ),
    Format(
        name="others",
        suffixes=(".pcx", ".qoi", ".sgi", ".bw", ".rgb", ".rgba", ".dds", ".psd", ".ico"),
        holds="8 bits, as Pillow reads them: PCX, QOI, SGI, DDS, PSD (as it looks), ICO (the largest)",
        files=(
            (pillow(RGB, "PCX"), RGB),
            (pillow(RGB, "QOI"), RGB),
            (pillow(RGB, "SGI"), RGB),
            (pillow(RGB, "DDS"), RGB),
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A kind of picture that is refused, and the words that say so."""

    what: str
    name: str
    write: Write
    said: str


_PNG, _JPEG, _TIFF, _BMP = (pillow(RGB, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP"))
_NAN = np.where(GREY > 250, np.nan, GREY / 255).astype(np.float32)
REFUSED = (
    Refused(what="several pages of a TIFF", name="a.tif", write=frames("TIFF"), said="holds 2 pictures"),
    Refused(what="an animated PNG", name="a.png", write=frames("PNG"), said="holds 2 pictures"),
    Refused(what="an animated WebP", name="a.webp", write=frames("WEBP", lossless=True), said="holds 2 pictures"),
    Refused(what="an animated GIF", name="a.gif", write=frames("GIF"), said="holds 2 pictures"),
    Refused(what="an AVIF sequence", name="a.avif", write=frames("AVIF"), said="holds 2 pictures"),
    Refused(what="several pictures of an MPO", name="a.mpo", write=frames("MPO"), said="holds 2 pictures"),
    Refused(what="the same with a JPEG's name", name="a.jpg", write=frames("MPO"), said="holds 2 pictures"),
    Refused(
        what="a TIFF stack as microscopes write it",
        name="b.tif",
        write=lambda path: tifffile.imwrite(path, np.stack([GREY, 255 - GREY]), photometric="minisblack"),
        said="holds 2 pictures",
    ),
    Refused(what="an empty file", name="a.png", write=bytes_of(b""), said="is empty (zero bytes)"),
    Refused(what="a web page", name="a.png", write=bytes_of(b"<html>404"), said="is not an image"),
    Refused(what="half a PNG", name="a.png", write=cut(_PNG, 0.5), said="cannot decode"),
    Refused(what="half a JPEG", name="a.jpg", write=cut(_JPEG, 0.5), said="cannot decode"),
    Refused(what="half a TIFF", name="a.tif", write=cut(_TIFF, 0.5), said="cannot decode"),
    Refused(what="half a BMP", name="a.bmp", write=cut(_BMP, 0.5), said="cannot decode"),
    Refused(
        what="floats beyond 0..1",
        name="a.tif",
        write=lambda path: tifffile.imwrite(path, GREY.astype(np.float32)),
        said="expected 0..1 in floating-point images",
    ),
    Refused(
        what="NaN",
        name="a.tif",
        write=lambda path: tifffile.imwrite(path, _NAN),
        said="expected 0..1 in floating-point images",
    ),
    Refused(
        what="integers beyond 16 bits",
        name="a.tif",
        write=lambda path: tifffile.imwrite(path, GREY.astype(np.int32) * 1000),
        said="expected 0..65535 in integer images",
    ),
    Refused(
        what="negative values",
        name="a.tif",
        write=lambda path: tifffile.imwrite(path, GREY.astype(np.int32) - 100),
        said="expected 0..65535 in integer images",
    ),
    Refused(
        what="a TIFF of 16 bits whose zero is white",
        name="a.tif",
        write=lambda path: tifffile.imwrite(path, DEEP[:, :, 0], photometric="miniswhite"),
        said="16 bits a channel with white as zero",
    ),
    Refused(
        what="a TIFF of 16 bits with a plane for each channel",
        name="a.tif",
        write=lambda path: tifffile.imwrite(path, DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        said="a plane for each channel",
    ),
    Refused(
        what="more than 200 megapixels",
        name="a.png",
        write=lambda path: path.write_bytes(
            png_chunks(DEEP)[:16]
            + struct.pack(">II", 20_000, 20_000)
            + png_chunks(DEEP)[24:29]
            + struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">II", 20_000, 20_000) + png_chunks(DEEP)[24:29]))
            + png_chunks(DEEP)[33:]
        ),
        said="400 megapixels; at most 200 are read",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Mask:
    """A way of saving masks, and what comes of it."""

    what: str
    name: str
    """Of the mask of image ``000.png``."""
    write: Callable[[Path, np.ndarray], object]
    """Takes the mask as drawn, bool."""
    outcome: str
    """``read``, ``warned`` or ``refused``."""
    said: str = ""


def _grey(mask: np.ndarray, value: int = 255) -> np.ndarray:
    return mask.astype(np.uint8) * np.uint8(value)


def _palette(background: list[int]) -> Callable[[Path, np.ndarray], object]:
    def write(path: Path, mask: np.ndarray) -> None:
        image = Image.fromarray(_grey(mask, 1)).convert("P")
        image.putpalette([*background, 250, 0, 0])
        image.save(path)

    return write


def _void(path: Path, mask: np.ndarray) -> None:
    values = _grey(mask, 1)
    values[:3] = values[-3:] = 255
    Image.fromarray(values).save(path)


def _soft(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray(_grey(mask))
    image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR).resize(
        image.size, Image.Resampling.BILINEAR
    ).save(path)


def _pages(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(_grey(mask) * 0).save(path, save_all=True, append_images=[Image.fromarray(_grey(mask))])


def _folder(path: Path, mask: np.ndarray) -> None:
    path.with_suffix("").mkdir()
    Image.fromarray(_grey(mask)).save(path.with_suffix("") / "000.png")


def _mode(mode: str) -> Callable[[Path, np.ndarray], object]:
    return lambda path, mask: Image.fromarray(_grey(mask)).convert(mode).save(path)


def _values(convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, np.ndarray], object]:
    return lambda path, mask: Image.fromarray(convert(mask)).save(path)


def _labels(path: Path, mask: np.ndarray) -> None:
    values = _grey(mask, 1)
    values[np.flatnonzero(mask.any(axis=1))[0]] *= 2
    Image.fromarray(values).save(path)


_NAME = "000_mask.png"
MASKS = (
    Mask(what="0 and 255", name=_NAME, write=_values(_grey), outcome="read"),
    Mask(what="0 and 1", name=_NAME, write=_values(lambda mask: _grey(mask, 1)), outcome="read"),
    Mask(what="one bit", name=_NAME, write=_mode("1"), outcome="read"),
    Mask(what="16 bits", name=_NAME, write=_values(lambda mask: mask.astype(np.uint16) * 65535), outcome="read"),
    Mask(
        what="32 bits, a label of 70000",
        name="000_mask.tiff",
        write=_values(lambda mask: mask.astype(np.int32) * 70000),
        outcome="read",
    ),
    Mask(what="floats", name="000_mask.tiff", write=_values(lambda mask: mask.astype(np.float32)), outcome="read"),
    Mask(what="colours on black", name=_NAME, write=_mode("RGB"), outcome="read"),
    Mask(what="a palette whose first colour is black", name=_NAME, write=_palette([0, 0, 0]), outcome="read"),
    Mask(
        what="white, and transparent where nothing is",
        name=_NAME,
        write=lambda path, mask: Image.fromarray(np.dstack([np.full_like(_grey(mask), 255)] * 3 + [_grey(mask)])).save(
            path
        ),
        outcome="read",
    ),
    Mask(what="the image's own name", name="000.png", write=_values(_grey), outcome="read"),
    Mask(what="another lossless format", name="000_mask.BMP", write=_values(_grey), outcome="read"),
    Mask(what="a folder of masks for each image", name="000.png", write=_folder, outcome="warned", said="AUPRO counts"),
    Mask(
        what="inverted",
        name=_NAME,
        write=_values(lambda mask: 255 - _grey(mask)),
        outcome="warned",
        said="cover more than half of their image",
    ),
    Mask(
        what="classes 1 and 2, without 0",
        name=_NAME,
        write=_values(lambda mask: mask.astype(np.uint8) + np.uint8(1)),
        outcome="warned",
        said="the value 1 touches the border all around in every mask",
    ),
    Mask(
        what="a palette whose first colour is not black",
        name=_NAME,
        write=_palette([128, 64, 128]),
        outcome="warned",
        said="the value (128, 64, 128) touches the border all around",
    ),
    Mask(
        what="a void label around",
        name=_NAME,
        write=_void,
        outcome="warned",
        said="the value 255 touches the border all around in every mask",
    ),
    Mask(what="labels of classes", name=_NAME, write=_labels, outcome="warned", said="hold several values (1, 2)"),
    Mask(
        what="grey edges, as interpolation leaves them",
        name=_NAME,
        write=_soft,
        outcome="warned",
        said="have grey levels",
    ),
    Mask(
        what="nothing drawn",
        name=_NAME,
        write=_values(lambda mask: _grey(mask) * 0),
        outcome="warned",
        said="empty: their images count as defective",
    ),
    Mask(
        what="JPEG",
        name="000_mask.jpg",
        write=_values(_grey),
        outcome="refused",
        said="is a JPEG, whose compression blurs its edges",
    ),
    Mask(
        what="half the image's size",
        name=_NAME,
        write=_values(lambda mask: _grey(mask)[::2, ::2]),
        outcome="refused",
        said="draw it at the image's own size",
    ),
    Mask(
        what="turned by a quarter",
        name=_NAME,
        write=_values(lambda mask: np.rot90(_grey(mask))),
        outcome="refused",
        said="a quarter turn would explain it",
    ),
    Mask(what="several pages", name="000_mask.tiff", write=_pages, outcome="refused", said="holds 2 pictures"),
    Mask(
        what="another ending of the name",
        name="000_seg.png",
        write=_values(_grey),
        outcome="refused",
        said="there is '000_seg.png'",
    ),
)
