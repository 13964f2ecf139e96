"""The images that a run learned from, found again where it remembers them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vtadl.data.layouts import Category, read_category
from vtadl.runs.origin import remembered_category, taught_folders


def remembered_images(times: dict[str, Any], moved_to: Path | None = None) -> Category | None:
    """The category that a run was trained on, with the good training images of the folders that it was taught.

    Args:
        times: of the run.
        moved_to: where the category is now, if not where it was.

    Returns:
        ``None`` where the category is not there; taught folders that are gone are left out.

    Raises:
        DataError: a folder that is there cannot be read.
    """
    folder = moved_to or remembered_category(times)
    if folder is None or (moved_to is None and not folder.is_dir()):
        return None
    category = read_category(folder)
    taught = [read_category(one) for one in taught_folders(times) if one.is_dir()]
    more = [replace(sample, split="train") for one in taught for sample in (*one.train, *one.validation)]
    known = {sample.path.resolve() for sample in category.samples}
    return replace(category, samples=(*category.samples, *(one for one in more if one.path.resolve() not in known)))
