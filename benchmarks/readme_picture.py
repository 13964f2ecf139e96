"""What the READMEs show of the demo: photos over their heat maps, a good one and defective ones; and its metrics.

Of the good the image whose score is the median, and of the defective evenly by rank of the score, from the lowest to
the highest: nothing is picked for its looks.

    vtadl demo --out runs/demo
    python benchmarks/readme_picture.py runs/demo

writes docs/pictures/demo_heatmaps.png, and the sentences between the markers of README.md and README.ko.md.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from vtadl.data.layouts import Category, read_category
from vtadl.decision.heatmap import overlay
from vtadl.evaluation import evaluate_run
from vtadl.inference.predict import ScoredFile, predict_files
from vtadl.runs.processor import processor
from vtadl.runs.run import Run, load_run

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/pictures/demo_heatmaps.png"
BEGIN, END = "<!-- {}: written by benchmarks/readme_picture.py -->\n", "<!-- end of {} -->"
SENTENCES = {
    "README.md": {
        "demo": "**AUPRO@0.3 {aupro:.3f}** (how much of each defect is covered) on these photographs of VisA, "
        "CC BY 4.0, after {good} good ones: `vtadl demo`, {date}.",
        "demo results": "`vtadl demo`, {date}, {machine}: image AUROC {auroc:.3f} and AUPRO@0.3 {aupro:.3f} "
        "on {test} photographs, after {good} good ones.",
    },
    "README.ko.md": {
        "demo": "양품 {good}장을 배운 뒤 이 사진들(VisA, CC BY 4.0)에서 **AUPRO@0.3 {aupro:.3f}**"
        "(결함마다 얼마나 덮는지를 나타냅니다): `vtadl demo`, {date}.",
    },
}
"""What stands between which markers of which document."""
WIDE, HIGH, GAP, LABEL = 210, 140, 4, 26
DEFECTIVE = 4
INK, PAPER = (40, 44, 48), (255, 255, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder that vtadl demo wrote")
    options = parser.parse_args()
    (root,) = (options.demo / "images").iterdir()
    run, category = load_run(options.demo / "runs" / root.name), read_category(root)
    picture = block(run, typical_images(run, category))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture.save(PICTURE, optimize=True)
    print(f"{PICTURE}: {picture.width} x {picture.height}, {PICTURE.stat().st_size / 1e3:.0f} kB")
    write_sentences(run, category)


def write_sentences(run: Run, category: Category) -> None:
    """Measure the run, and put what came of it into the documents."""
    metrics = evaluate_run(run, category, torch.device("cpu")).metrics
    values = {
        "auroc": metrics["image_AUROC"],
        "aupro": metrics["pixel_AUPRO@0.3"],
        "good": len(category.train),
        "test": len(category.test),
        "date": datetime.now(UTC).date(),
        "machine": f"{processor()['capability']}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    for name, sentences in SENTENCES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for marker, sentence in sentences.items():
            begin, end = BEGIN.format(marker), END.format(marker)
            before, _, rest = text.partition(begin)
            text = before + begin + sentence.format(**values) + "\n" + end + rest.partition(end)[2]
        (ROOT / name).write_text(text, encoding="utf-8")
        print(f"{name}: {', '.join(sentences)}")


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
