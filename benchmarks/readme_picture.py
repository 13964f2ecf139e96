"""The picture in the README: photos of the demo set over their heat maps, a good one and defective ones.

Of the good the image whose score is the median, and of the defective evenly by rank of the score, from the lowest to
the highest: nothing is picked for its looks.

    vtadl demo --out runs/demo
    python benchmarks/readme_picture.py runs/demo docs/pictures/demo_heatmaps.png
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from vtadl.data.layouts import Category, read_category
from vtadl.decision.heatmap import overlay
from vtadl.inference.predict import ScoredFile, predict_files
from vtadl.runs.run import Run, load_run

WIDE, HIGH, GAP, LABEL = 210, 140, 4, 26
DEFECTIVE = 4
INK, PAPER = (40, 44, 48), (255, 255, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder that vtadl demo wrote")
    parser.add_argument("picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    blocks = []
    for root in sorted((options.demo / "images").iterdir()):
        run = load_run(options.demo / "runs" / root.name)
        blocks.append(block(run, typical_images(run, read_category(root))))
    picture = Image.new("RGB", (blocks[0].width, sum(b.height for b in blocks)), PAPER)
    for index, drawn in enumerate(blocks):
        picture.paste(drawn, (0, index * drawn.height))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.picture, optimize=True)
    print(f"{options.picture}: {picture.width} x {picture.height}, {options.picture.stat().st_size / 1e3:.0f} kB")


def typical_images(run: Run, category: Category) -> list[tuple[str, ScoredFile]]:
    """A good test image with its label, then defective ones, lowest score first."""
    chosen = []
    for is_defective, count in ((False, 1), (True, DEFECTIVE)):
        samples = [sample for sample in category.test if sample.is_defective == is_defective]
        paths = [sample.path for sample in samples]
        scored = list(predict_files(run, paths, torch.device("cpu"), keep_originals=True))
        ranked = sorted(scored, key=lambda one: one.prediction.score)
        places = [len(ranked) // 2] if count == 1 else np.linspace(0, len(ranked) - 1, count).round().astype(int)
        chosen += [(samples[ranked[place].index].label, ranked[place]) for place in places]
    return chosen


def block(run: Run, images: list[tuple[str, ScoredFile]]) -> Image.Image:
    """A row of photos, the heat maps below them, and a line of labels."""
    picture = Image.new("RGB", (len(images) * (WIDE + GAP) - GAP, 2 * (HIGH + GAP) + LABEL), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for column, (label, one) in enumerate(images):
        heat = overlay(one.original, one.prediction.anomaly_map, run.held_out.colour_low, run.held_out.colour_high)
        x = column * (WIDE + GAP)
        for row, pixels in enumerate((one.original, heat)):
            tile = Image.fromarray(np.asarray(pixels, np.uint8)).resize((WIDE, HIGH), Image.Resampling.LANCZOS)
            picture.paste(tile, (x, row * (HIGH + GAP)))
        text = f"{label.replace('_', ' ')}  {one.prediction.score:.1f}"
        draw.text((x + WIDE / 2, 2 * (HIGH + GAP) + LABEL / 2 - 4), text, INK, font, anchor="mm")
    return picture


if __name__ == "__main__":
    main()
