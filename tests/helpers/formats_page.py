"""The tables of docs/formats.md, from the tables of the tests; `python tests/helpers/formats_page.py` writes them."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.formats import FORMATS, MASKS, REFUSED
from helpers.trees import TREES

PAGE = Path(__file__).resolve().parents[2] / "docs/formats.md"
MARKED = r"(<!-- {name} -->\n).*?(<!-- end -->)"


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def formats() -> str:
    """Formats of pictures."""
    rows = ((one.name, " ".join(f"`{suffix}`" for suffix in one.suffixes), one.holds) for one in FORMATS)
    return table(("format", "names", "what it may hold"), rows)


def refused() -> str:
    """Pictures that are refused."""
    return table(("refused", "because it"), ((one.what, f"`{one.said}`") for one in REFUSED))


def layouts() -> str:
    """A tree of each layout."""
    parts = []
    for tree in TREES:
        files = sorted((*tree.images, *tree.masks, *tree.black_masks, *tree.others))
        source = f" ({tree.source})" if tree.source else ""
        taken = {}
        for split, label, _ in tree.expected.values():
            taken.setdefault(split, []).append(label)
        said = "; ".join(f"{split}: {', '.join(sorted(labels))}" for split, labels in sorted(taken.items()))
        parts.append(
            f"**{tree.name}**{source}: `vtadl data check {tree.category}` calls it `{tree.layout}`; {said}.\n\n"
            "```text\n" + "\n".join(files) + "\n```\n"
        )
    return "\n" + "\n".join(parts)


def masks() -> str:
    """Kinds of masks."""
    rows = ((one.what, one.outcome, f"`{one.said}`" if one.said else "") for one in MASKS)
    return table(("masks that hold, or are", "are", "and it is said"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "formats": formats,
    "refused": refused,
    "layouts": layouts,
    "masks": masks,
}


def filled(page: str) -> str:
    """The page with each table as it should be."""
    for name, make in TABLES.items():
        page, count = re.subn(
            MARKED.format(name=name), lambda match, make=make: match[1] + make() + match[2], page, flags=re.DOTALL
        )
        assert count == 1, f"docs/formats.md has no place for the table '{name}'"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
