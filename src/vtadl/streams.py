"""What the terminal can show."""

import sys


def write_all_names() -> None:
    """Print what standard output and error cannot encode with a replacement, so that no name ends finished work."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
