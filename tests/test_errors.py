"""Messages stay short enough to read, whatever a file holds."""

from vtadl.errors import DataError, DependencyError


def test_a_long_message_keeps_its_ends():
    message = f"'{'a' * 300}.json' holds {'x' * 10_000}; expected polygons"
    shown = str(DataError(message))
    assert len(shown) < 1500 and "\n" not in shown
    assert shown.startswith(message[:320]) and shown.endswith("xxx; expected polygons") and "[...]" in shown
    for short in ("'a.png' is empty", "y" * 1500, ""):
        assert str(DataError(short)) == str(DependencyError(short)) == short
