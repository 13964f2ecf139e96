"""What commands do about files that cannot be used."""

import sys
from collections.abc import Sequence

from vtadl.commands.arguments import warn
from vtadl.data.integrity import look_over
from vtadl.data.layouts import Sample
from vtadl.errors import DataError
from vtadl.progress import Progress, silent

MOST_LINES = 20


def usable(
    samples: Sequence[Sample], more: Sequence[DataError] = (), *, skip_bad: bool, progress: Progress = silent
) -> frozenset[Sample]:
    """Read the images and masks of some samples before any long work; ``more`` are problems that are known already.

    Returns:
        The samples to leave out.

    Raises:
        DataError: without ``skip_bad``, after a line for each problem if there are several.
    """
    found, doubtful = look_over(samples, progress=progress)
    for line in doubtful:
        warn(line)
    errors = [*more, *(error for _, error in found)]
    if skip_bad:
        for error in errors:
            warn(f"skipped: {error}")
    elif len(errors) == 1:
        raise DataError(f"{errors[0]}; --skip-bad continues without it")
    elif errors:
        for error in errors[:MOST_LINES]:
            print(f"vtadl: {error}", file=sys.stderr)
        raise DataError(f"{len(errors)} problems with the images; fix them, or continue without them: --skip-bad")
    return frozenset(sample for sample, _ in found)
