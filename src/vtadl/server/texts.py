"""Text that comes from outside, as every database takes it, and as a page may show it."""

from typing import Annotated

from pydantic import AfterValidator, Field


def storable(text: str) -> str:
    """Text without NUL and lone surrogates, which no database takes; others raise a ValueError."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("characters that no text has")
    return text


def printable(text: str) -> str:
    """Text in which every character can be seen; others raise a ValueError."""
    if not text.isprintable():
        raise ValueError("control characters")
    return storable(text)


Text = Annotated[str, AfterValidator(storable), Field(max_length=2000)]
Line = Annotated[str, AfterValidator(printable), Field(max_length=200)]
