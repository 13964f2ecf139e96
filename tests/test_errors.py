"""Messages stay short enough to read, whatever a file holds."""

import pytest

from vtadl.errors import DataError, DependencyError, VtadlWarning, warn_caller


def test_a_message_is_one_line_and_a_long_one_keeps_its_ends():
    message = f"'{'a' * 300}.json' holds {'x' * 10_000}; expected polygons"
    shown = str(DataError(message))
    assert len(shown) < 1500 and "\n" not in shown
    assert shown.startswith(message[:320]) and shown.endswith("xxx; expected polygons") and "[...]" in shown
    assert str(DataError("'a.csv' has columns a,b\n\r\nc; expected d")) == "'a.csv' has columns a,b  c; expected d"
    for short in ("'a.png' is empty", "y" * 1500, ""):
        assert str(DataError(short)) == str(DependencyError(short)) == short


def test_a_warning_is_laid_at_the_door_of_who_called_into_the_package():
    namespace = {"__name__": "vtadl.somewhere", "warn_caller": warn_caller}
    exec("def inner():\n    warn_caller('too few')\n\ndef outer():\n    inner()\n", namespace)
    with pytest.warns(VtadlWarning, match="^too few$") as found:
        namespace["outer"]()
    assert found[0].filename == __file__
