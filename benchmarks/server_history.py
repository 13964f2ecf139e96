"""How fast are the history's page and its export with a million inspections?

python benchmarks/server_history.py [--rows 1000000] [--write]
"""

import argparse
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import func, insert, select
from starlette.testclient import TestClient

from drawn.document import write_between
from vtadl.server.app import create_app
from vtadl.server.settings import Settings
from vtadl.server.tables import Inspection, new_id, now_ms

DAYS, AT_ONCE = 30, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, help="fill this folder, or take it as an earlier call left it")
    parser.add_argument("--write", action="store_true", help="the numbers into docs/server.md")
    options = parser.parse_args()
    rows, lines = options.rows, []
    with tempfile.TemporaryDirectory() as scratch:
        app = create_app(Settings(data=options.data or Path(scratch), workers=0), [])
        with TestClient(app, base_url="http://127.0.0.1") as client:
            database = app.state.server.database
            with database.read() as session:
                there = session.scalar(select(func.count()).select_from(Inspection))
            if not there:
                fill(database, rows)
            for address in (
                "/history",
                "/history?verdict=defective",
                "/history?verdict=good",
                "/history?detector=parts",
                "/history?detector=parts&corrected=true",
                "/history?batch=b7",
                "/history?label=good",
                "/v1/inspections?limit=200",
                f"/v1/inspections?before={new_id(now_ms() - 15 * 86_400_000)}",
            ):
                times, busy = [], []
                assert client.get(address).status_code == 200
                for _ in range(5):
                    started, before = time.perf_counter(), time.process_time()
                    assert client.get(address).status_code == 200
                    times.append(1000 * (time.perf_counter() - started))
                    busy.append(1000 * (time.process_time() - before))
                mid = statistics.median
                lines.append(
                    f"- `{address}`: {mid(busy):.0f} ms of a processor, {mid(times):.0f} ms as busy as the machine was"
                )
                print(lines[-1], flush=True)
            # The client of this benchmark keeps an answer whole: the lines are drawn as the server draws them.
            from vtadl.server.exporting import csv_lines
            from vtadl.server.filters import Filters

            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            started = time.perf_counter()
            exported = sum(1 for _ in csv_lines(app.state.server.database, Filters()))
            seconds = time.perf_counter() - started
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            lines.append(f"- export of {exported - 1} rows: {seconds:.0f} s, {grown / 1000:.1f} MB more memory")
            print(lines[-1])
    if options.write:
        write_between("history", lines)


def fill(database, rows: int) -> None:
    chance, end = random.Random(0), now_ms()
    step = DAYS * 86_400_000 / rows
    for start in range(0, rows, AT_ONCE):
        values = []
        for number in range(start, min(start + AT_ONCE, rows)):
            at = int(end - DAYS * 86_400_000 + step * number)
            verdict = chance.choices(("good", "review", "defective"), (90, 5, 5))[0]
            label = chance.choice(("good", "defective")) if chance.random() < 0.01 else None
            values.append(
                {
                    "id": new_id(at), "created_ms": at, "detector": chance.choice(("parts", "lids")), "version": 1,
                    "source": "api", "by": "plc", "name": f"{number}.png", "part": None, "batch": f"b{number // 5000}",
                    "score": chance.random(), "p_value": chance.random(), "verdict": verdict, "regions": [],
                    "height": 512, "width": 512, "brightness": 0.5, "contrast": 0.2, "sharpness": 0.1,
                    "milliseconds": 16.0, "sha256": "0" * 64, "bytes": 100_000, "kind": "jpg", "deep": False,
                    "kept": True, "label": label,
                    "corrected": label is not None and (label == "good") != (verdict == "good"),
                }
            )  # fmt: skip
        with database.write() as session:
            session.execute(insert(Inspection), values)


if __name__ == "__main__":
    main()
