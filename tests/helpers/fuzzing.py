"""Hostile files: small good ones of every kind that vtadl reads, how they are broken, and the doors they come through.

A door either takes a file or raises one of vtadl's errors, in a line; whatever else happens is a finding. What to break
is data (`Change`), so that Hypothesis can shrink it, a generator can make 100,000 of it, and atheris can steer it.
"""

import hashlib
import io
import json
import struct
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from helpers.exports import card_for, tiny_run
from helpers.trees import COCO, LABELME, SIDE, TREES
from vtadl.config.overrides import read_config
from vtadl.data.anomaly_maps import read_map
from vtadl.data.images import image_size, read_image
from vtadl.data.layouts import read_category
from vtadl.data.loco_regions import config_of, read_regions
from vtadl.data.mask_files import read_mask
from vtadl.data.roi import read_region_of_interest
from vtadl.errors import VtadlError
from vtadl.inference.predictions_file import open_predictions_file, read_rows
from vtadl.models.reference_checkpoint import load_reference
from vtadl.runs.run import load_run, save_run
from vtadl.runtime import manifest as exported
from vtadl.runtime.manifest import read_card, read_manifest, read_region

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
WORDS = (
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 400, b"10000000000", b"0.5", b'""'),
    *(b"[]", b"{}", b'"../../etc/passwd"', b'"\\ud800"', b'"\\u0000"', b"\xff\xfe", b"[" * 3000, b'{"a":' * 3000),
    *(b"\n", b"=", b'"', b"[[", b"1979-05-27", b"0x10", b",", b":"),
)


LONGEST_ERROR = 2000


class Change(NamedTuple):
    """One step of breaking a file."""

    kind: int
    where: int
    """Any number; the file's length decides what it points to."""
    value: int


@dataclass(frozen=True, kw_only=True)
class Door:
    """A way for a file into vtadl."""

    seeds: tuple[tuple[str, bytes], ...]
    """Good files, by the name under which the door expects them."""
    open: Callable[[Path], object]
    """Takes the file's path."""
    folder: Path | None = None
    """What stands beside the file."""
    fix: Callable[[Path], None] = lambda path: None
    """Makes a broken file pass the first checks, so that what is behind them is tried too."""


def break_file(content: bytes, changes: Sequence[Change]) -> bytes:
    """A copy of a file, broken."""
    data = bytearray(content)
    for change in changes:
        at = change.where % (len(data) + 1)
        number = NUMBERS[change.value % len(NUMBERS)]
        match change.kind % 9:
            case 0 if at < len(data):
                data[at] ^= 1 << change.value % 8
            case 1 if at < len(data):
                data[at] = change.value % 256
            case 2:
                data[at : at + 2] = struct.pack("<>"[change.value & 1] + "H", number & 0xFFFF)
            case 3:
                data[at : at + 4] = struct.pack("<>"[change.value & 1] + "I", number & 0xFFFFFFFF)
            case 4:
                data[at : at + 8] = struct.pack("<Q", number)
            case 5:
                del data[at : at + 1 + change.value % 64]
            case 6:
                del data[at:]
            case 7:
                data[at:at] = data[at : at + 1 + change.value % 64]
            case 8:
                _replace_token(data, at, WORDS[change.value % len(WORDS)])
    return bytes(data)


TAKEN, REFUSED = "taken", "refused"


def outcome(door: Door, name: str, content: bytes) -> str:
    """What comes of a file: `TAKEN`, `REFUSED`, or what went wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        path = _placed(door, Path(scratch) / "folder", name, content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of odd files that it reads nevertheless
                door.open(path)
        except VtadlError as error:
            if len(str(error).splitlines()) != 1 or len(str(error)) > LONGEST_ERROR:
                return f"an error of {len(str(error).splitlines())} lines, {len(str(error))} characters: {error!s:.300}"
            return REFUSED
        except Exception as error:
            return f"{type(error).__name__}: {error!s:.300}"
    return TAKEN


def make_doors(root: Path) -> dict[str, Door]:
    """All doors; ``root`` is a folder for what stands beside their files."""
    run = tiny_run(root / "made", "paper", "model.image_size=32", "model.patch_size=8")
    run = replace(run, card=card_for(run, 2.0, 1.0), roi_mask=np.eye(20, 30, dtype=bool))
    save_run(run, root / "run")
    export = _made_export(root)
    images, rgb = _images(), (np.random.default_rng(0).random((9, 11, 3)) * 255).astype(np.uint8)
    lines = b'{"file": "a.png", "score": 1.5, "scored_at": "2026-01-02T03:04:05+00:00"}\n' * 3
    polygons = b'{"width": 40, "height": 30, "polygons": [[[1, 2], [30, 4], [20.5, 25]], [[0, 0], [5, 0], [0, 5]]]}'
    split = b"object,split,label,image,mask\nnut,train,normal,nut/a.png,\nnut,test,anomaly,nut/b.png,nut/b_mask.png\n"
    return {
        "image": Door(seeds=images, open=lambda path: (image_size(path), read_image(path))),
        "mask": Door(
            seeds=(images[0], ("mask.bmp", _saved(rgb[..., 0], "BMP"))), open=lambda path: read_mask(path, (9, 11))
        ),
        "map": Door(seeds=_maps(), open=read_map),
        "run": Door(
            seeds=tuple((path.name, path.read_bytes()) for path in sorted((root / "run").iterdir())),
            folder=root / "run",
            open=lambda path: load_run(path.parent),
            fix=_fix_run,
        ),
        "export": Door(
            seeds=tuple((path.name, path.read_bytes()) for path in sorted(export.iterdir()) if path.suffix != ".onnx"),
            folder=export,
            open=lambda path: _open_export(path.parent),
        ),
        "config": Door(
            seeds=(("config.toml", (root / "run/config.toml").read_bytes()),),
            open=lambda path: read_config(path, None, None, None, ()),
        ),
        "region": Door(
            seeds=(("polygons.json", polygons), ("region.png", (root / "run/region_of_interest.png").read_bytes())),
            open=lambda path: read_region_of_interest(path, None),
        ),
        "checkpoint": Door(seeds=_checkpoints(), open=lambda path: load_reference(path, path)),
        "rows": Door(seeds=(("predictions.jsonl", lines),), open=lambda path: list(read_rows(path))),
        "split": Door(
            seeds=(("split_csv/1cls.csv", split),), folder=None, open=lambda path: read_category(_visa(path.parents[1]))
        ),
        "drawing": Door(
            seeds=(("002.json", json.dumps(LABELME).encode()), ("test/cut/coco.json", _coco())),
            open=lambda path: read_mask(path, (SIDE, SIDE), path.with_name("002.png")),
        ),
        "layout": Door(seeds=_layouts(), open=_open_layout),
        "state": Door(seeds=(("inspection.json", b'{"detector": "a", "finished": false}'),), open=_open_state),
    }


def _coco() -> bytes:
    runs = {"image_id": 1, "segmentation": {"size": [SIDE, SIDE], "counts": [100, 50, 106]}}
    packed = {"image_id": 1, "segmentation": {"size": [SIDE, SIDE], "counts": "T3b1Z3"}}
    return json.dumps({**COCO, "annotations": [*COCO["annotations"], runs, packed]}).encode()


def _layouts() -> tuple[tuple[str, bytes], ...]:
    """The tables and lists of layouts, below the folder of their tree."""
    kept = ("MVTec LOCO AD", "Real-IAD", "a list, CSV or Parquet")
    return tuple(
        (f"{tree.name}/{name}", content.encode())
        for tree in TREES
        if tree.name in kept
        for name, content in tree.others.items()
    )


def _open_layout(path: Path) -> None:
    """Read a tree whose table is the broken file, and the masks of its samples."""
    broken = path.read_bytes()
    tree = next(tree for tree in TREES if tree.name in path.parts)
    root = path.parents[len(path.parts) - path.parts.index(tree.name) - 2]
    category = tree.make(root)
    path.write_bytes(broken)
    for sample in read_category(category).samples:
        config = None if sample.mask is None else config_of(sample.mask)
        if sample.mask is not None and config is not None:
            read_regions(sample.mask, config)


def _open_state(path: Path) -> None:
    """Resume an inspection whose state is the broken file."""
    (path.parent / "predictions.jsonl").write_text('{"file": "a.png", "score": 1.5}\n')
    with open_predictions_file(path.parent, {"detector": "a"}):
        pass


def _placed(door: Door, folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir()
    for beside in () if door.folder is None else door.folder.iterdir():
        (folder / beside.name).symlink_to(beside)
    path = folder / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    door.fix(path)
    return path


def _made_export(root: Path) -> Path:
    """An export without a model: the files that come before it."""
    folder = root / "export"
    folder.mkdir()
    for name in ("card.json", "region_of_interest.png"):
        (folder / name).write_bytes((root / "run" / name).read_bytes())
    manifest = exported.Manifest(
        format=1,
        vtadl="0.1.0",
        runtime="onnx",
        precision="float32",
        category="stripes",
        preset="paper",
        image_size=32,
        input_size=(32, 32),
        weights_sha256=json.loads((root / "run/card.json").read_text())["weights_sha256"],
        colour_low=0.0,
        colour_high=1.0,
        input="image",
        output="anomaly_map",
        resampling="bilinear",
        files={"model.onnx": "0" * 64},
        agreement={"images": 1},
        value_range=None,
        training_images=json.loads((root / "run/run.json").read_text())["training"].get("images", {}),
    )
    (folder / "manifest.json").write_text(exported.to_json(manifest))
    return folder


def _open_export(folder: Path) -> None:
    manifest = read_manifest(folder)
    read_card(folder, manifest)
    read_region(folder)


def _visa(root: Path) -> Path:
    for name in ("a", "b", "b_mask"):
        (root / "nut").mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(root / "nut" / f"{name}.png")
    return root / "nut"


def _fix_run(path: Path) -> None:
    """Give broken weights their checksum, and a broken card's detector too."""
    if path.name != "weights.safetensors":
        return
    record = path.with_name("run.json")
    content = json.loads(record.read_text())
    content["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    record.unlink()  # a link to the good one
    record.write_text(json.dumps(content))
    path.with_name("card.json").unlink()


def _images() -> tuple[tuple[str, bytes], ...]:
    rng = np.random.default_rng(0)
    rgb, grey = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8), rng.integers(0, 65536, (9, 11), dtype=np.uint16)
    rgba = np.concatenate([rgb, rgb[..., :1]], axis=2)
    exif = Image.Exif()
    exif[274] = 6
    return (
        ("a.png", _saved(rgb, "PNG")),
        ("b.png", _saved(grey, "PNG")),
        ("c.png", _saved(rgba, "PNG")),
        ("d.png", _saved(rgb, "PNG", palette=True, transparency=3)),
        ("e.jpg", _saved(rgb, "JPEG", exif=exif)),
        ("f.bmp", _saved(rgb, "BMP")),
        ("g.tif", _saved(rgb, "TIFF")),
        ("h.tif", _saved(rgb, "TIFF", compression="tiff_lzw")),
        ("i.tif", _saved(grey, "TIFF", compression="tiff_adobe_deflate")),
        ("j.tif", _saved(rng.random((9, 11)).astype(np.float32), "TIFF")),
        ("k.webp", _saved(rgb, "WEBP", lossless=True)),
        ("l.webp", _saved(rgb, "WEBP", exif=exif)),
    )


def _checkpoints() -> tuple[tuple[str, bytes], ...]:
    """Both formats of torch.save; whole, they are refused too, because they hold no VT-ADL."""
    files = []
    for name, packed in (("a.pth", True), ("b.pth", False)):
        file = io.BytesIO()
        tensors = {"a": torch.zeros(3, 4), "b": torch.ones(2)}
        torch.save(tensors, file, _use_new_zipfile_serialization=packed)
        files.append((name, file.getvalue()))
    return tuple(files)


def _maps() -> tuple[tuple[str, bytes], ...]:
    values = np.random.default_rng(1).random((9, 11)).astype(np.float32)
    plain, packed = io.BytesIO(), io.BytesIO()
    np.save(plain, values)
    np.savez_compressed(packed, anomaly_map=values)
    return (
        ("a.npy", plain.getvalue()),
        ("b.npz", packed.getvalue()),
        ("c.tiff", _saved(values, "TIFF")),
        ("d.png", _saved((values * 65535).astype(np.uint16), "PNG")),
    )


def _saved(pixels: np.ndarray, kind: str, *, palette: bool = False, **options: object) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.quantize(16) if palette else image).save(file, kind, **options)
    return file.getvalue()


def _replace_token(data: bytearray, at: int, word: bytes) -> None:
    """Put a word in the place of the number, name or sign at a position."""
    end = at
    while end < len(data) and chr(data[end]).isalnum():
        end += 1
    data[at : max(end, at + 1)] = word
