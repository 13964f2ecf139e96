"""The picture in the README: photos of the demo set over their heat maps, a good one and one of each type of defect.

Of each type the image whose score is the median, so nothing is picked for its looks.

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

TILE, GAP, LABEL = 150, 4, 26
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


def typical_images(run: Run, category: Category) -> dict[str, ScoredFile]:
    """For each label, good first, the test image with the median score."""
    labels = ["good", *sorted({sample.label for sample in category.test if sample.is_defective})]
    typical = {}
    for label in labels:
        paths = [sample.path for sample in category.test if sample.label == label]
        scored = list(predict_files(run, paths, torch.device("cpu"), keep_originals=True))
        typical[label] = sorted(scored, key=lambda one: one.prediction.score)[len(scored) // 2]
    return typical


def block(run: Run, images: dict[str, ScoredFile]) -> Image.Image:
    """A row of photos, the heat maps below them, and a line of labels."""
    picture = Image.new("RGB", (len(images) * (TILE + GAP) - GAP, 2 * (TILE + GAP) + LABEL), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for column, (label, one) in enumerate(images.items()):
        heat = overlay(one.original, one.prediction.anomaly_map, run.held_out.colour_low, run.held_out.colour_high)
        x = column * (TILE + GAP)
        for row, pixels in enumerate((one.original, heat)):
            tile = Image.fromarray(np.asarray(pixels, np.uint8)).resize((TILE, TILE), Image.Resampling.LANCZOS)
            picture.paste(tile, (x, row * (TILE + GAP)))
        text = f"{label.replace('_', ' ')}  {one.prediction.score:.1f}"
        draw.text((x + TILE / 2, 2 * (TILE + GAP) + LABEL / 2 - 4), text, INK, font, anchor="mm")
    return picture


if __name__ == "__main__":
    main()
