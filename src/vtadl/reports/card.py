"""The decision card as a page: one HTML file that needs nothing else; and the two files of a card in a run folder."""

import math
from html import escape
from pathlib import Path

from vtadl.decision.card import CALIBRATING, CARD_FILE, Card, Kind, Rate, to_json
from vtadl.errors import BundleError
from vtadl.reports.charts import Histogram, histograms
from vtadl.reports.page import document, paragraph, table
from vtadl.runs.files import write_text

PAGE_FILE = "card.html"

PROMISES = {
    "exact": "The promise is exact: it holds for any detector and any distribution of scores.",
    "approximate": "The promise is approximate; the notes say why.",
    "none": "Nothing is promised.",
}


def write_card(folder: Path, card: Card) -> None:
    """Put a card and its page into a run folder, each whole or not at all.

    Raises:
        BundleError: the folder cannot be written.
    """
    try:
        write_text(folder / PAGE_FILE, card_page(card))
        # Last: this file is what counts.
        write_text(folder / CARD_FILE, to_json(card))
    except OSError as error:
        raise BundleError(f"cannot write '{folder}': {error.strerror}; the old card, if any, still counts") from error


def card_page(card: Card) -> str:
    """The page as text."""
    title = f"Decision card: {card.category}"
    when = f"Preset {card.preset}, calibrated {card.created} with vtadl {card.vtadl}. {PROMISES[card.promise]}"
    rates = [[name, *_rate_cells(rate)] for name, rate in rate_rows(card)]
    sets = [[one.kind, str(len(one.scores)), one.folder, one.added] for one in card.calibration_sets]
    body = [
        f"<h1>{escape(title)}</h1>",
        paragraph(when, "quiet"),
        *(paragraph(note) for note in card.notes),
        "<h2>Verdicts</h2>",
        table("From which score on", ["Verdict", "Score"], threshold_rows(card)),
        "<h2>Expected rates</h2>",
        table(
            "Shares of images, each with the interval that holds the true share with 95 % probability",
            ["Of", "Asked", "Expected", "From", "To", "Images"],
            rates,
        )
        if rates
        else paragraph("No images to expect rates from."),
        "<h2>Scores</h2>",
        _histogram(card),
        "<h2>Images</h2>",
        table("What was calibrated on", ["Kind", "Images", "Folder", "Added"], sets),
        f'<footer class="small">Weights {escape(card.weights_sha256)}</footer>',
    ]
    return document(title, "\n".join(body))


def threshold_rows(card: Card) -> list[list[str]]:
    """What happens above which score, a row each."""
    rows = [["defective", f"above {card.threshold:.6g}"]]
    if card.review_threshold is not None:
        rows.append(["review", f"above {card.review_threshold:.6g}"])
    return [*rows, ["outlined pixel", f"above {card.pixel_threshold:.6g}"]]


def rate_rows(card: Card) -> list[tuple[str, Rate]]:
    """The card's rates, each with what it is a share of."""
    rates = {
        "good judged defective": card.false_rejects,
        "good judged review or defective": card.reviews,
        "good with any outline": card.outlined,
        "labelled defects judged good": card.misses,
    }
    return [(name, rate) for name, rate in rates.items() if rate is not None]


def percent(share: float) -> str:
    """A share as per cent, with the digits that matter."""
    return f"{100 * share:.3g} %"


def _rate_cells(rate: Rate) -> list[str]:
    asked = "" if rate.asked is None else percent(rate.asked)
    return [asked, *(percent(share) for share in (rate.expected, rate.low, rate.high)), str(rate.images)]


def _histogram(card: Card) -> str:
    good = _scores(card, "labelled good")
    defective = _scores(card, "labelled defective")
    groups = [Histogram(label="calibration images", values=card.calibration, style="held-out")]
    if good:
        groups.append(Histogram(label="labelled good images", values=good, style="good"))
    if defective:
        groups.append(Histogram(label="labelled defects", values=defective, style="bad"))
    if not any(math.isfinite(value) for group in groups for value in group.values):
        return paragraph("No scores.")
    caption = "The dashed line is the threshold for defective."
    chart = histograms(groups, title="Image scores", x_label="image score", mark=card.threshold)
    return chart + paragraph(caption, "quiet small")


def _scores(card: Card, kind: Kind) -> list[float]:
    assert kind not in CALIBRATING
    return [score for one in card.calibration_sets if one.kind == kind for score in one.scores]
