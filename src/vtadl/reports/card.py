"""The decision card as a page: one HTML file that needs nothing else; and the two files of a card in a run folder."""

import math
from pathlib import Path

from markupsafe import Markup

from vtadl.decision.card import CARD_FILE, Card, Rate, scores_of, to_json
from vtadl.decision.card_rows import percent, rate_rows, threshold_rows
from vtadl.errors import BundleError
from vtadl.reports.charts import Histogram, histograms
from vtadl.reports.page import TableContent, page
from vtadl.runs.files import write_bytes

PAGE_FILE = "card.html"

PROMISES = {
    "exact": "The promise is exact: it holds for any detector and any distribution of scores.",
    "approximate": "The promise is approximate; the notes say why.",
    "none": "Nothing is promised.",
}


def card_files(card: Card) -> dict[str, bytes]:
    """A card and its page, as files of a run folder by name."""
    return {PAGE_FILE: card_page(card).encode(), CARD_FILE: to_json(card).encode()}


def write_card(folder: Path, card: Card) -> None:
    """Put a card and its page into a run folder, each whole or not at all.

    Raises:
        BundleError: the folder cannot be written.
    """
    try:
        for name, content in card_files(card).items():  # the card last: that file is what counts
            write_bytes(folder / name, content)
    except OSError as error:
        raise BundleError(f"cannot write '{folder}': {error.strerror}; the old card, if any, still counts") from error


def card_page(card: Card) -> str:
    """The page as text."""
    sets = [[one.kind, str(len(one.scores)), one.folder, one.added] for one in card.calibration_sets]
    return page(
        "card.html",
        f"Decision card: {card.category}",
        card=card,
        when=f"Preset {card.preset}, calibrated {card.created} with vtadl {card.vtadl}. {PROMISES[card.promise]}",
        thresholds=TableContent(caption="From which score on", head=["Verdict", "Score"], rows=threshold_rows(card)),
        rates=TableContent(
            caption="Shares of images, each with the interval that holds the true share with 95 % probability",
            head=["Of", "Asked", "Expected", "From", "To", "Images"],
            rows=[[name, *_rate_cells(rate)] for name, rate in rate_rows(card)],
        ),
        histogram=_histogram(card),
        sets=TableContent(caption="What was calibrated on", head=["Kind", "Images", "Folder", "Added"], rows=sets),
    )


def _rate_cells(rate: Rate) -> list[str]:
    asked = "" if rate.asked is None else percent(rate.asked)
    return [asked, *(percent(share) for share in (rate.expected, rate.low, rate.high)), str(rate.images)]


def _histogram(card: Card) -> Markup | None:
    groups = [
        Histogram(label="calibration images", values=card.calibration, style="held-out"),
        Histogram(label="labelled good images", values=scores_of(card.calibration_sets, "labelled good"), style="good"),
        Histogram(label="labelled defects", values=scores_of(card.calibration_sets, "labelled defective"), style="bad"),
    ]
    groups = [group for group in groups if group.values or group is groups[0]]
    if not any(math.isfinite(value) for group in groups for value in group.values):
        return None
    return histograms(groups, title="Image scores", x_label="image score", mark=card.threshold)
