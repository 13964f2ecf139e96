"""MVTec LOCO AD's annotated regions: a mask file each, of which finding a part may be enough.

Where a screw is missing, nobody can say which pixels show that: the mask covers all places where it might lie, and a
detector that marks as much as one screw has found it whole. ``defects_config.json`` says how much is enough.

Source: P. Bergmann et al., Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and
Localization, IJCV 2022, section 4, and the dataset's evaluation code.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vtadl.data.mask_files import CONFIG_FILE, mask_parts, read_mask_values
from vtadl.errors import DataError
from vtadl.metrics import AnnotatedRegion

_EXPECTED = (
    'expected [{"defect_name": "...", "pixel_value": 255, "saturation_threshold": 100, "relative_saturation": false}, '
    "...]"
)


class _Threshold(NamedTuple):
    enough: float
    relative: bool
    """Whether `enough` is a share of the region, or a number of pixels."""


def config_of(mask: Path) -> Path | None:
    """The file that says how much of each region is enough, for a folder of masks such as
    ``ground_truth/logical_anomalies/000``; ``None`` where there is none.
    """
    if not mask.is_dir() or len(mask.parents) < 3:
        return None
    config = mask.parents[2] / CONFIG_FILE
    return config if config.is_file() else None


def read_regions(mask: Path, config: Path) -> tuple[AnnotatedRegion, ...]:
    """The regions of an image, in natural order of their files.

    Args:
        mask: a folder with a file for each region, whose pixels hold 0 or the value of its type of defect.
        config: from `config_of`.

    Raises:
        DataError: a file that cannot be read, a region of several values, or a value that the config does not name.
    """
    thresholds = _thresholds(config, config.stat().st_mtime_ns)
    regions = []
    for part in mask_parts(mask):
        values = read_mask_values(part, None)
        held = sorted(set(np.unique(values).tolist()) - {0})
        if not held:
            continue
        if len(held) > 1 or held[0] not in thresholds:
            raise DataError(
                f"mask '{part}' holds {', '.join(f'{value:g}' for value in held[:5])}; expected one value of those in "
                f"'{config}': {', '.join(f'{value:g}' for value in sorted(thresholds))}"
            )
        drawn = values != 0
        enough, relative = thresholds[held[0]]
        share = enough if relative else enough / np.count_nonzero(drawn)
        regions.append(AnnotatedRegion(mask=drawn, saturation=min(share, 1.0)))
    return tuple(regions)


@lru_cache(maxsize=4)
def _thresholds(config: Path, _changed: int) -> dict[float, _Threshold]:
    try:
        entries = json.loads(config.read_text(encoding="utf-8"))
        found = {
            float(one["pixel_value"]): _Threshold(float(one["saturation_threshold"]), bool(one["relative_saturation"]))
            for one in entries
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read '{config}': {error!r}; {_EXPECTED}") from error
    for value, threshold in found.items():
        if not threshold.enough > 0:
            raise DataError(f"'{config}' has a saturation_threshold of {threshold.enough} for {value:g}; {_EXPECTED}")
    return found
