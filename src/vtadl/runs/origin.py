"""Where the images of a run are, so that a calibration finds them again.

Stands with the dates in ``times.json``: equal runs may have been trained from different folders.
"""

import json
from pathlib import Path
from typing import Any

from vtadl.errors import BundleError
from vtadl.runs.files import write_text

TIMES_FILE = "times.json"
KEY = "category_folder"
TAUGHT = "taught_folders"


def note_category(times: dict[str, Any], category: Path) -> None:
    """Note in a run's times the folder that it was trained on."""
    times[KEY] = str(category.resolve())


def remember_category(run_folder: Path, times: dict[str, Any], category: Path) -> None:
    """`note_category`, in the run's folder too.

    Raises:
        BundleError: it cannot be written.
    """
    note_category(times, category)
    try:
        write_text(run_folder / TIMES_FILE, json.dumps(times, indent=2) + "\n")
    except OSError as error:
        raise BundleError(f"cannot write '{run_folder / TIMES_FILE}': {error.strerror}") from error


def remembered_category(times: dict[str, Any]) -> Path | None:
    """The folder that a run was trained on; ``None`` where the run does not say."""
    folder = times.get(KEY)
    return Path(folder) if isinstance(folder, str) and folder else None


def note_taught(times: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A run's times with another folder that it was taught."""
    return {**times, TAUGHT: [*dict.fromkeys([*map(str, taught_folders(times)), str(folder.resolve())])]}


def taught_folders(times: dict[str, Any]) -> tuple[Path, ...]:
    """The folders that a run was taught since it was trained."""
    folders = times.get(TAUGHT)
    return tuple(Path(one) for one in folders if isinstance(one, str)) if isinstance(folders, list) else ()
