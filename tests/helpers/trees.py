"""A small tree of each layout that is read, in its exact names; docs/formats.md shows the same."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 16
Expected = dict[str, tuple[str, str, str | None]]
"""For each image: split, label and mask, paths from the category on."""


def picture(path: Path, number: int) -> None:
    """An image like no other of the tree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path: Path, *, defect: bool = True, value: int = 255) -> None:
    """A mask with a square of 4 x 4, or with nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[4:8, 4:8] = value * defect
    Image.fromarray(pixels).save(path)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One layout as it comes from its makers."""

    name: str
    layout: str
    """As `data check` calls it."""
    category: str
    """What is given to vtadl."""
    images: tuple[str, ...]
    masks: tuple[str, ...] = ()
    black_masks: tuple[str, ...] = ()
    """Masks of good images, where the layout has some."""
    others: dict[str, str] = field(default_factory=dict)
    """Files that are no images, and what they hold."""
    expected: Expected
    conditions: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """What a near miss lacks: a file or folder of the tree, as a pattern, or ``old>new``."""
    rewritten: dict[str, str] = field(default_factory=dict)
    """Files that a near miss has with other content."""
    nearly: str = ""
    """What is then said, in part; of a folder that is read nevertheless, what its notes say."""
    source: str = ""

    def make(self, root: Path) -> Path:
        """Write the tree below a folder; returns the category."""
        for number, name in enumerate(self.images):
            picture(root / name, number)
        for name in self.masks:
            mask(root / name, value=254 if "ground_truth/logical" in name else 255)
        for name in self.black_masks:
            mask(root / name, defect=False)
        for name, content in self.others.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        return root / self.category


def good_and_cut(train: str, good: str, cut: str, drawn: str | None) -> Expected:
    """One image to learn from, one good one and one with the defect ``cut`` to test with."""
    return {train: ("train", "good", None), good: ("test", "good", None), cut: ("test", "cut", drawn)}


LOCO_CONFIG = [
    {"defect_name": "missing_bag", "pixel_value": 254, "saturation_threshold": 8, "relative_saturation": False},
    {"defect_name": "scratch", "pixel_value": 255, "saturation_threshold": 1.0, "relative_saturation": True},
]
REAL_IAD = {
    "meta": {"normal_class": "OK", "prefix": "audiojack/"},
    "train": [
        {
            "category": "audiojack",
            "anomaly_class": "OK",
            "image_path": f"OK/S0001/audiojack_0001_OK_C{camera}_20231021130237.jpg",
            "mask_path": None,
        }
        for camera in range(1, 6)
    ],
    "test": [
        {
            "category": "audiojack",
            "anomaly_class": "BX",
            "image_path": "NG/BX/S0002/audiojack_0002_NG_BX_C1_20231021130500.jpg",
            "mask_path": "NG/BX/S0002/audiojack_0002_NG_BX_C1_20231021130500.png",
        },
        {
            "category": "audiojack",
            "anomaly_class": "OK",
            "image_path": "NG/BX/S0002/audiojack_0002_NG_BX_C2_20231021130500.jpg",
            "mask_path": None,
        },
    ],
}
COCO = {
    "images": [
        {"id": 1, "file_name": "test/cut/002.png", "height": SIDE, "width": SIDE},
        {"id": 2, "file_name": "test/good/001.png", "height": SIDE, "width": SIDE},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[4, 4, 8, 4, 8, 8, 4, 8]], "iscrowd": 0}
    ],
    "categories": [{"id": 1, "name": "cut"}],
}
LABELME = {
    "version": "5.5.0",
    "flags": {},
    "shapes": [{"label": "cut", "points": [[4, 4], [8, 4], [8, 8], [4, 8]], "shape_type": "polygon"}],
    "imagePath": "002.png",
    "imageData": None,
    "imageHeight": SIDE,
    "imageWidth": SIDE,
}
_IAD = "realiad_1024/audiojack/"

TREES = (
    Tree(
        name="MVTec AD",
        layout="mvtec",
        category="bottle",
        images=("bottle/train/good/000.png", "bottle/test/good/001.png", "bottle/test/cut/002.png"),
        masks=("bottle/ground_truth/cut/002_mask.png",),
        others={"bottle/readme.txt": "", "bottle/license.txt": ""},
        expected=good_and_cut(
            "train/good/000.png", "test/good/001.png", "test/cut/002.png", "ground_truth/cut/002_mask.png"
        ),
        missing=("bottle/ground_truth>bottle/groundtruth",),
        nearly="no masks are read: they are expected in ground_truth/, and here is groundtruth/; rename it",
        source="P. Bergmann et al., IJCV 2021",
    ),
    Tree(
        name="MPDD",
        layout="mvtec",
        category="bracket_black",
        images=(
            *("bracket_black/train/good/000.png", "bracket_black/test/good/001.png"),
            "bracket_black/test/cut/002.png",
        ),
        masks=("bracket_black/ground_truth/cut/002_mask.png",),
        expected=good_and_cut(
            "train/good/000.png", "test/good/001.png", "test/cut/002.png", "ground_truth/cut/002_mask.png"
        ),
        source="S. Jezek et al., ICUMT 2021",
    ),
    Tree(
        name="MVTec LOCO AD",
        layout="mvtec-loco",
        category="screw_bag",
        images=(
            *("screw_bag/train/good/000.png", "screw_bag/validation/good/000.png", "screw_bag/test/good/001.png"),
            *("screw_bag/test/logical_anomalies/000.png", "screw_bag/test/structural_anomalies/000.png"),
        ),
        masks=(
            "screw_bag/ground_truth/logical_anomalies/000/000.png",
            "screw_bag/ground_truth/logical_anomalies/000/001.png",
            "screw_bag/ground_truth/structural_anomalies/000/000.png",
        ),
        others={"screw_bag/defects_config.json": json.dumps(LOCO_CONFIG)},
        expected={
            "train/good/000.png": ("train", "good", None),
            "validation/good/000.png": ("validation", "good", None),
            "test/good/001.png": ("test", "good", None),
            "test/logical_anomalies/000.png": ("test", "logical_anomalies", "ground_truth/logical_anomalies/000"),
            "test/structural_anomalies/000.png": (
                *("test", "structural_anomalies"),
                "ground_truth/structural_anomalies/000",
            ),
        },
        missing=("screw_bag/defects_config.json",),
        nearly="2 images have a folder of masks each, as in MVTec LOCO AD, but",
        source="P. Bergmann et al., IJCV 2022",
    ),
    Tree(
        name="MVTec AD 2",
        layout="mvtec-ad-2",
        category="vial",
        images=(
            *("vial/train/good/000_regular.png", "vial/validation/good/000_regular.png"),
            *("vial/test_public/good/000_overexposed.png", "vial/test_public/good/000_shift_1.png"),
            *("vial/test_public/bad/000_regular.png", "vial/test_public/bad/000_underexposed.png"),
            *("vial/test_private/000_regular.png", "vial/test_private_mixed/000_mixed.png"),
        ),
        masks=(
            "vial/test_public/ground_truth/bad/000_regular_mask.png",
            "vial/test_public/ground_truth/bad/000_underexposed_mask.png",
        ),
        expected={
            "train/good/000_regular.png": ("train", "good", None),
            "validation/good/000_regular.png": ("validation", "good", None),
            "test_public/good/000_overexposed.png": ("test", "good", None),
            "test_public/good/000_shift_1.png": ("test", "good", None),
            "test_public/bad/000_regular.png": (
                *("test", "bad"),
                "test_public/ground_truth/bad/000_regular_mask.png",
            ),
            "test_public/bad/000_underexposed.png": (
                *("test", "bad"),
                "test_public/ground_truth/bad/000_underexposed_mask.png",
            ),
        },
        conditions={"regular": 3, "overexposed": 1, "shift_1": 1, "underexposed": 1},
        missing=(
            *("vial/test_public/good>vial/test_public/fine", "vial/test_public/bad>vial/test_public/poor"),
            "vial/train/good>vial/train/fine",
        ),
        nearly="MVTec AD 2 (test_public/ holds neither good/ nor bad/)",
        source="L. Heckler-Kram et al., 2025",
    ),
    Tree(
        name="MVTec 3D-AD",
        layout="mvtec-3d",
        category="bagel",
        images=(
            *("bagel/train/good/rgb/000.png", "bagel/train/good/xyz/000.tiff", "bagel/validation/good/rgb/000.png"),
            *("bagel/test/good/rgb/001.png", "bagel/test/cut/rgb/002.png", "bagel/test/cut/xyz/002.tiff"),
        ),
        masks=("bagel/test/cut/gt/002.png",),
        black_masks=("bagel/test/good/gt/001.png",),
        others={"bagel/calibration/camera_parameters.json": "{}"},
        expected={
            **good_and_cut(
                "train/good/rgb/000.png", "test/good/rgb/001.png", "test/cut/rgb/002.png", "test/cut/gt/002.png"
            ),
            "validation/good/rgb/000.png": ("validation", "good", None),
        },
        missing=("bagel/*/*/rgb",),
        nearly="MVTec 3D-AD (train/good/ holds xyz/ but no rgb/, and only colour is read)",
        source="P. Bergmann et al., VISAPP 2022",
    ),
    Tree(
        name="BTAD",
        layout="btad",
        category="01",
        images=("01/train/ok/0000.bmp", "01/test/ok/0001.bmp", "01/test/ko/0002.bmp"),
        masks=("01/ground_truth/ko/0002.png",),
        expected={
            "train/ok/0000.bmp": ("train", "good", None),
            "test/ok/0001.bmp": ("test", "good", None),
            "test/ko/0002.bmp": ("test", "ko", "ground_truth/ko/0002.png"),
        },
        missing=("01/train/ok>01/train/okay",),
        nearly="MVTec AD (train/ holds okay where train/good is expected)",
        source="P. Mishra et al., ISIE 2021",
    ),
    Tree(
        name="VisA",
        layout="visa",
        category="candle",
        images=(
            *("candle/Data/Images/Normal/0000.JPG", "candle/Data/Images/Normal/0001.JPG"),
            "candle/Data/Images/Anomaly/000.JPG",
        ),
        masks=("candle/Data/Masks/Anomaly/000.png",),
        others={
            "split_csv/1cls.csv": "object,split,label,image,mask\n"
            "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
            "candle,test,normal,candle/Data/Images/Normal/0001.JPG,\n"
            "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n"
        },
        expected={
            "Data/Images/Normal/0000.JPG": ("train", "good", None),
            "Data/Images/Normal/0001.JPG": ("test", "good", None),
            "Data/Images/Anomaly/000.JPG": ("test", "anomaly", "Data/Masks/Anomaly/000.png"),
        },
        missing=("split_csv/1cls.csv",),
        nearly="VisA (Data/Images/ is there, but no split_csv/1cls.csv beside the folder)",
        source="Y. Zou et al., ECCV 2022",
    ),
    Tree(
        name="KolektorSDD",
        layout="kolektor-sdd",
        category="KolektorSDD",
        images=tuple(f"KolektorSDD/kos{item:02}/Part{part}.jpg" for item in (1, 2) for part in range(3)),
        masks=("KolektorSDD/kos01/Part1_label.bmp",),
        black_masks=tuple(
            f"KolektorSDD/kos{item:02}/Part{part}_label.bmp"
            for item in (1, 2)
            for part in range(3)
            if (item, part) != (1, 1)
        ),
        expected={
            **{f"kos{i:02}/Part{p}.jpg": ("train", "good", None) for i in (1, 2) for p in range(3)},
            "kos01/Part1.jpg": ("test", "defect", "kos01/Part1_label.bmp"),
            "kos02/Part0.jpg": ("test", "good", None),
        },
        missing=("KolektorSDD/*/*_label.bmp",),
        nearly="KolektorSDD (kos01/ holds no mask such as Part0_label.bmp)",
        source="D. Tabernik et al., JIM 2020",
    ),
    Tree(
        name="KolektorSDD2",
        layout="kolektor-sdd2",
        category="KolektorSDD2",
        images=(
            *("KolektorSDD2/train/10000.png", "KolektorSDD2/train/10001.png"),
            *("KolektorSDD2/test/20000.png", "KolektorSDD2/test/20001.png"),
        ),
        masks=("KolektorSDD2/train/10001_GT.png", "KolektorSDD2/test/20001_GT.png"),
        black_masks=("KolektorSDD2/train/10000_GT.png", "KolektorSDD2/test/20000_GT.png"),
        expected={
            "train/10000.png": ("train", "good", None),
            "test/20000.png": ("test", "good", None),
            "test/20001.png": ("test", "defect", "test/20001_GT.png"),
        },
        missing=("KolektorSDD2/*/*_GT.png",),
        nearly="KolektorSDD2 (train/ and test/ hold images, but no masks such as 10000_GT.png)",
        source="J. Božič et al., Computers in Industry 2021",
    ),
    Tree(
        name="Real-IAD",
        layout="real-iad",
        category="realiad_1024/audiojack",
        images=tuple(_IAD + entry["image_path"] for split in ("train", "test") for entry in REAL_IAD[split]),
        masks=(_IAD + "NG/BX/S0002/audiojack_0002_NG_BX_C1_20231021130500.png",),
        others={"realiad_jsons/audiojack.json": json.dumps(REAL_IAD)},
        expected={
            **{entry["image_path"]: ("train", "good", None) for entry in REAL_IAD["train"]},
            REAL_IAD["test"][0]["image_path"]: ("test", "BX", REAL_IAD["test"][0]["mask_path"]),
            REAL_IAD["test"][1]["image_path"]: ("test", "good", None),
        },
        conditions={"C1": 2, "C2": 2, "C3": 1, "C4": 1, "C5": 1},
        missing=("realiad_jsons/audiojack.json",),
        nearly="Real-IAD (OK/ and NG/ are there, but no realiad_jsons/audiojack.json beside the images' folder)",
        source="C. Wang et al., CVPR 2024",
    ),
    Tree(
        name="good and bad",
        layout="plain",
        category="parts",
        images=("parts/good/000.png", "parts/good/001.png", "parts/bad/cut/002.png"),
        masks=("parts/masks/cut/002.png",),
        expected={
            "good/000.png": ("test", "good", None),
            "good/001.png": ("train", "good", None),
            "bad/cut/002.png": ("test", "cut", "masks/cut/002.png"),
        },
        missing=("parts/good>parts/OK",),
        nearly="the plain layout (OK/ where good/ is expected, and bad/ beside it)",
    ),
    Tree(
        name="a list, CSV or Parquet",
        layout="list",
        category="parts",
        images=("parts/a/000.png", "parts/a/001.png", "parts/b/002.png"),
        masks=("parts/masks/002.png",),
        others={
            "parts/parts.csv": "image,label,mask,split\na/000.png,good,,train\na/001.png,good,,test\n"
            "b/002.png,cut,masks/002.png,test\n"
        },
        expected=good_and_cut("a/000.png", "a/001.png", "b/002.png", "masks/002.png"),
        rewritten={"parts/parts.csv": "filename,class,mask,split\na/000.png,good,,train\n"},
        nearly="a list of images ('parts.csv' has columns filename, class, mask, split; expected image,label)",
    ),
    Tree(
        name="COCO's JSON for masks",
        layout="mvtec",
        category="parts",
        images=("parts/train/good/000.png", "parts/test/good/001.png", "parts/test/cut/002.png"),
        others={"parts/annotations/instances_test.json": json.dumps(COCO)},
        expected=good_and_cut(
            "train/good/000.png", "test/good/001.png", "test/cut/002.png", "annotations/instances_test.json"
        ),
        source="T.-Y. Lin et al., 2014",
    ),
    Tree(
        name="labelme's JSON for masks",
        layout="mvtec",
        category="parts",
        images=("parts/train/good/000.png", "parts/test/good/001.png", "parts/test/cut/002.png"),
        others={"parts/test/cut/002.json": json.dumps(LABELME)},
        expected=good_and_cut("train/good/000.png", "test/good/001.png", "test/cut/002.png", "test/cut/002.json"),
        source="labelme 5",
    ),
    Tree(
        name="images and drawings",
        layout="annotated",
        category="parts",
        images=("parts/000.png", "parts/001.png", "parts/002.png"),
        others={"parts/002.json": json.dumps(LABELME)},
        expected={
            "000.png": ("test", "good", None),
            "001.png": ("train", "good", None),
            "002.png": ("test", "defect", "002.json"),
        },
    ),
    Tree(
        name="good images alone",
        layout="bare",
        category="parts",
        images=("parts/000.png", "parts/001.png"),
        expected={"000.png": ("train", "good", None), "001.png": ("train", "good", None)},
    ),
)


def spoil(tree: Tree, root: Path) -> None:
    """Take from a tree what its near miss lacks."""
    for change in tree.missing:
        old, renamed, new = change.partition(">")
        if renamed:
            (root / old).rename(root / new)
        else:
            for path in sorted(root.glob(old)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in tree.rewritten.items():
        (root / name).write_text(content)
