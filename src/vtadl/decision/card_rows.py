"""What a card says, in rows, for a page and for a terminal. The standard library alone, as the card itself."""

from vtadl.decision.card import Card, Rate


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
