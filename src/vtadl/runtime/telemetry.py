"""Nothing that vtadl loads reports to anybody.

OpenVINO's Python package tells its makers when it is imported, unless its user has opted out: a thread forks the whole
process, with all threads and locks that it has, and kills the copy where the network does not answer.
"""

import sys
from typing import cast


def forbid_telemetry() -> None:
    """Let OpenVINO, which is to be imported next, find no package to report with; it then does without."""
    cast(dict[str, object], sys.modules).setdefault("openvino_telemetry", None)
