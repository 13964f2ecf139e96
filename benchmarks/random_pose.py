"""Does the default hold where parts lie anyhow? Prints docs/context.md's table.

python benchmarks/random_pose.py [--category ../shared/data/mvtec/transistor] [--degrees 180] [--shift 0.02]
    [--preset gaussian]...

Writes a copy of the category in which every image, with its mask, is turned about its centre by any angle up to
--degrees either way and shifted by up to --shift of its side, what comes in at the border mirrored; trains each preset
on the copy (seed 0) and evaluates it there. File names decide angles and shifts.
"""

import argparse
import tempfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

import vtadl

DEFAULT = Path(__file__).resolve().parents[2] / "shared/data/mvtec/transistor"
PRESETS = ("gaussian", "memory", "fast")
RECORDED = ("position_share", "kurtosis", "area_share", "poses")
COLUMNS = ("image_AUROC", "pixel_AUPRO@0.3", "pixel_AUPRO@0.05")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", type=Path, default=DEFAULT)
    parser.add_argument("--degrees", type=float, default=180)
    parser.add_argument("--shift", type=float, default=0.02)
    parser.add_argument("--preset", action="append", help=f"default: {', '.join(PRESETS)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vtadl-anyhow-") as folder:
        category = Path(folder) / options.category.name
        move_category(options.category, category, options.degrees, options.shift)
        print(f"{category.name}, up to {options.degrees:g} degrees and {options.shift:g} of a side\n")
        print(f"| preset | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
        for preset in options.preset or PRESETS:
            detector = vtadl.train(category, preset=preset)
            metrics = vtadl.evaluate(detector, category).metrics
            shown = " | ".join("–" if metrics[name] is None else f"{metrics[name]:.3f}" for name in COLUMNS)
            print(f"| `{preset}` | {shown} |", flush=True)
            recorded = {name: value for name, value in detector.run.training.items() if name in RECORDED}
            if recorded:
                print(f"<!-- {recorded} -->")
    print(f"\n{datetime.now(UTC).date()}, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
