"""Is anything lost or broken by kills, bad requests and hostile uploads? The slow tests' helpers, with their counts.

    python benchmarks/server_faults.py kills|requests|uploads [--count N] [--write]

``kills``: kill -9 at random moments under load, 200 times on SQLite and 200 times on PostgreSQL; everything that was
acknowledged must be there once, its pictures readable. ``requests``: 5,000 that the OpenAPI document allows, none of
which may end in a 500 (fewer are sent where an operation allows few). ``uploads``: 2,000 broken pictures.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import vtadl
from drawn.document import write_between
from helpers.categories import good_image, make_category
from helpers.postgresql import postgresql_server
from helpers.server_client import NAME
from helpers.server_hostile import send_broken, try_document
from helpers.server_process import ForkedServer, check_nothing_lost, kill_under_load
from vtadl.cli import main as vtadl_main
from vtadl.server.app import create_app
from vtadl.server.settings import Settings

COUNTS = {"kills": 200, "requests": 5000, "uploads": 2000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=COUNTS)
    parser.add_argument("--count", type=int)
    parser.add_argument("--write", action="store_true", help="the numbers into docs/server.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        started, root = time.monotonic(), Path(scratch)
        run = make(root)
        try_it = {"kills": kills, "requests": requests, "uploads": uploads}[options.what]
        lines = [f"- {line}" for line in try_it(root, run, options.count or COUNTS[options.what])]
    print("\n".join(lines), f"\n{time.monotonic() - started:.0f} s")
    if options.write:
        write_between(options.what, lines)


def make(root: Path) -> Path:
    """A tiny detector, exported, so that a server of it starts in a moment."""
    category = make_category(root / "images", train=24)
    detector = vtadl.train(category, preset="gaussian", model={"image_size": 64})
    detector.calibrate(threshold=1.2 * max(detector.predict(good_image(seed)).score for seed in range(500, 506)))
    detector.save(root / "run" / NAME)
    export = ["export", str(root / "run" / NAME), "--to", "onnx", "--images", str(category / "train/good")]
    assert vtadl_main([*export, "--out", str(root / "export" / NAME)]) == 0
    return root / "run" / NAME


def kills(root: Path, run: Path, count: int) -> list[str]:
    with postgresql_server() as postgresql:
        return [
            f"{name}: {killed(root, name, flags, count)}"
            for name, flags in (("SQLite", []), ("PostgreSQL", ["--database", postgresql.empty()]))
        ]


def killed(root: Path, name: str, flags: list[str], count: int) -> str:
    server = ForkedServer(root / name, [root / "export" / NAME], "--workers", "0", *flags)
    try:
        acknowledged = kill_under_load(server, kills=count, seconds=(0.0, 0.5), seed=1)
        check_nothing_lost(server, acknowledged)
    finally:
        server.kill()
    return f"{count} kills, {len(acknowledged)} acknowledged, each stored once, all pictures readable"


@contextlib.contextmanager
def client_of(root: Path, run: Path):
    app = create_app(Settings(data=root / "data", workers=0), [run])
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def requests(root: Path, run: Path, count: int) -> list[str]:
    with client_of(root, run) as client:
        sent = try_document(client, count)
    return [f"{sum(sent.values())} requests over {len(sent)} operations: no answer of 500 or more"]


def uploads(root: Path, run: Path, count: int) -> list[str]:
    with client_of(root, run) as client:
        statuses = send_broken(client, count)
        assert statuses <= {201, 413, 422}, statuses
        assert not list((root / "data/incoming").iterdir())
    return [f"{count} broken pictures: answered {', '.join(map(str, sorted(statuses)))}, nothing left behind"]


if __name__ == "__main__":
    main()
