"""Killed at any of 200 moments and given again, does a command make what it makes undisturbed?

python benchmarks/kills.py [--kills 200] [--seed 0] [--signal 9]

The commands are those of tests/helpers/kills.py: train (with checkpoints and at once), calibrate, predict, watch,
compare and export. Each is run once undisturbed; then, each time from the beginning, killed at a moment drawn evenly
from the time that it took, and given again. Weights, logs, rows, pictures, cards, tables and manifests are compared;
times are not.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.forks import in_fork  # noqa: E402
from helpers.kills import CASES, make_all, tries  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", type=int, default=9)
    options = parser.parse_args()
    started = time.monotonic()
    total: Counter[str] = Counter()
    print("| command | tried | killed in its course | continued to the same result | temporary folders left |")
    print("|---|--:|--:|--:|--:|")
    for number, name in enumerate(CASES):
        kills = options.kills // len(CASES) + (number < options.kills % len(CASES))
        with tempfile.TemporaryDirectory() as folder:
            in_fork(make_all, Path(folder))
            found = in_fork(tries, Path(folder), name, kills, options.seed, options.signal)
        bad = [one for one in found if not one["equal"] or one["code"] not in (0, -15)]
        killed = sum(one["killed"] != 0 for one in found)
        left = sum(bool(one["left"]) for one in found)
        print(f"| {name} | {kills} | {killed} | {kills - len(bad)} | {left} |", flush=True)
        total.update(tried=kills, bad=len(bad))
        for one in bad:
            print(json.dumps(one))
    print(f"\n{total['tried']} kills, {total['bad']} with another result, {time.monotonic() - started:.0f} s")
    sys.exit(1 if total["bad"] else 0)


if __name__ == "__main__":
    main()
