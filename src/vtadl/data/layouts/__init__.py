"""Folders of one product and what is in them; `vtadl.data.layouts.read` has the table of layouts."""

from vtadl.data.layouts.category import GOOD, Category, Sample
from vtadl.data.layouts.read import OUTSIDE, empty_folders, read_category
from vtadl.data.layouts.search import find_images

__all__ = ["GOOD", "OUTSIDE", "Category", "Sample", "empty_folders", "find_images", "read_category"]
