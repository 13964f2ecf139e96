"""The pages' language: English as it stands in the templates, others from one catalogue each."""

import io
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

MESSAGES = Path(__file__).parent / "messages"
SOURCE = "en"


@cache
def languages() -> tuple[str, ...]:
    """Codes of the languages that there are."""
    return (SOURCE, *sorted(file.stem for file in MESSAGES.glob("*.po")))


@cache
def translations(language: str) -> NullTranslations:
    """The catalogue of a language."""
    if language == SOURCE:
        return NullTranslations()
    with (MESSAGES / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)


def preferred(accept_language: str) -> str:
    """The language that a browser's header asks for first, of those that there are."""
    wishes = []
    for position, entry in enumerate(accept_language.split(",")[:20]):
        code, _, quality = entry.strip().partition(";q=")
        try:
            wishes.append((-float(quality or 1), position, code.replace("-", "_")))
        except ValueError:
            continue
    found = negotiate_locale([code for _, _, code in sorted(wishes)], list(languages()))
    return Locale.parse(found).language if found else SOURCE
