"""An HTML page in one file: it loads nothing, runs nothing, and reads well in light, in dark, on a phone and on paper.

The markup stands in templates, which escape whatever text they are given; only charts arrive as `Markup`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

SENTENCE = 48
"""Characters from which the text of a cell is a sentence, not a name or a number."""

_TEMPLATES = Environment(
    loader=PackageLoader("vtadl.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, kw_only=True)
class TableContent:
    """What a table of a page holds, as text."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Text for each cell; the first one names the row."""
    notes: Sequence[str] = ()
    """What each row's name means, if that needs saying."""

    @property
    def sentences(self) -> set[int]:
        """The columns with sentences in them; they are set as text, which wraps."""
        return {
            column
            for column in range(1, len(self.head))
            if any(len(row[column]) >= SENTENCE and " " in row[column] for row in self.rows)
        }


def page(template: str, title: str, **content: Any) -> str:
    """A whole page: a file of the folder ``templates`` with what it asks for."""
    return _TEMPLATES.get_template(template).render(title=title, **content)
