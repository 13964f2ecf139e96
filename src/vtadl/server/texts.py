"""Text that comes from outside, as every database takes it."""

from typing import Annotated

from pydantic import AfterValidator, Field


def storable(text: str) -> str:
    """Text without NUL and lone surrogates, which no database takes; others raise a ValueError."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("characters that no text has")
    return text


Text = Annotated[str, AfterValidator(storable), Field(max_length=2000)]
