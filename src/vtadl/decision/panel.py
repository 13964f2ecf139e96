"""What a person looks at: the photo in its colours beside its heat map, with verdict, score, threshold and scale."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vtadl.decision import heatmap
from vtadl.decision.decide import Prediction
from vtadl.decision.regions import outline

SIDES = (256, 1024)
"""Pixels that the longer side of each picture has at least, by whole multiples, and at most."""
INK, PAPER, OUTLINE = (30, 30, 30), (255, 255, 255), (255, 255, 255)
VERDICTS = {"defective": (190, 20, 45), "review": (170, 100, 0), "good": (20, 110, 60)}
GREY = 128.0
"""Of the photo under the colours of the scale."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The ends of a run's colour scale, and the scores that verdicts and outlines begin at."""

    low: float
    high: float
    threshold: float | None = None
    """Score above which an image is defective; ``None``: not calibrated."""
    pixel_threshold: float | None = None
    """Score above which a pixel is outlined; ``None``: none is."""


def heat_picture(
    image: NDArray[Any], prediction: Prediction, scale: Scale, roi_mask: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """The photo in grey with its abnormal parts coloured and outlined, at its own size.

    Args:
        image: ``(H, W, 3)`` uint8 or uint16.
        prediction: of the image.
        scale: of the run.
        roi_mask: ``(H, W)``, false where nothing counts; ``None``: everything does.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    picture = heatmap.overlay(image, prediction.anomaly_map, scale.low, scale.high, roi_mask)
    if prediction.regions and scale.pixel_threshold is not None:
        above = prediction.anomaly_map > scale.pixel_threshold
        picture[outline(above if roi_mask is None else above & roi_mask)] = OUTLINE
    return picture


def panel(
    image: NDArray[Any], prediction: Prediction, scale: Scale, roi_mask: NDArray[np.bool_] | None = None
) -> Image.Image:
    """The photo and `heat_picture` side by side, under a line of text, with the scale beside; large ones shrunk."""
    photo = _fitted(heatmap.eight_bit(image))
    heat = _fitted(heat_picture(image, prediction, scale, roi_mask))
    size = min(max(photo.width // 20, 14), 26)
    font = ImageFont.load_default(size)
    text, labels = _caption(prediction, scale), _labels(scale)
    gap, top = size // 2, 2 * size
    label_width = round(max(font.getlength(label) for _, label in labels))
    bar_left = 2 * photo.width + 2 * gap
    width = max(bar_left + size + gap + label_width + gap, round(font.getlength(text)) + 3 * gap)
    canvas = Image.new("RGB", (width, top + photo.height + size), PAPER)
    canvas.paste(photo, (0, top))
    canvas.paste(heat, (photo.width + gap, top))
    canvas.paste(_bar(size, photo.height), (bar_left, top))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, gap // 2, top - 4), fill=VERDICTS.get(prediction.verdict or "", INK))
    draw.text((gap, top / 2), text, fill=VERDICTS.get(prediction.verdict or "", INK), font=font, anchor="lm")
    for place, label in labels:
        height = top + round((1 - place) * (photo.height - 1))
        draw.text((bar_left + size + gap, height), label, fill=INK, font=font, anchor="lm")
    _mark(draw, scale, (bar_left, top, size, photo.height))
    return canvas


def _caption(prediction: Prediction, scale: Scale) -> str:
    words = [prediction.verdict or "not calibrated", f"score {prediction.score:.4g}"]
    if scale.threshold is not None:
        words.append(f"threshold {scale.threshold:.4g}")
    if prediction.p_value is not None:
        words.append(f"p {prediction.p_value:.2g}")
    return "   ".join(words)


def _labels(scale: Scale) -> list[tuple[float, str]]:
    """Positions on the bar, and the scores there."""
    return [(place, f"{heatmap.score_at(place, scale.low, scale.high):.3g}") for place in (0.0, 0.5, 1.0)]


def _bar(width: int, height: int) -> Image.Image:
    places = np.linspace(1, 0, height, dtype=np.float32)
    weight = heatmap.opacities(places)[:, None]
    column = GREY * (1 - weight) + heatmap.colours(places) * weight
    return Image.fromarray(np.repeat(column[:, None].round().astype(np.uint8), width, axis=1))


def _mark(draw: ImageDraw.ImageDraw, scale: Scale, box: tuple[int, int, int, int]) -> None:
    """A line across the bar where outlines begin."""
    if scale.pixel_threshold is None:
        return
    left, top, width, height = box
    place = float(heatmap.positions(np.array([scale.pixel_threshold]), scale.low, scale.high)[0])
    y = top + round((1 - place) * (height - 1))
    draw.line((left - 4, y, left + width + 4, y), fill=INK, width=3)
    draw.line((left - 4, y, left + width + 4, y), fill=PAPER, width=1)


def _fitted(pixels: NDArray[np.uint8]) -> Image.Image:
    """A picture that is neither too small to see nor too large to send."""
    picture, (least, most) = Image.fromarray(pixels), SIDES
    side = max(picture.size)
    if side < least:
        times = -(-least // side)
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    if side > most:
        picture.thumbnail((most, most), Image.Resampling.BOX)
    return picture
