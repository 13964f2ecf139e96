"""docs/formats.md says what the tests try."""

from helpers.formats_page import PAGE, filled


def test_the_tables_of_the_page_are_those_of_the_tests():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "run python tests/helpers/formats_page.py"
