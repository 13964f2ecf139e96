"""Do any of 100,000 broken files crash vtadl, hang it, or come out as anything but an error of one line?

python benchmarks/fuzz.py [--files 100000] [--door NAME]... [--seed 0] [--out FINDINGS]
python benchmarks/fuzz.py --atheris --door image [--seconds 600]

The doors, the good files and the ways of breaking them are those of tests/helpers/fuzzing.py; the door `model` is tried
here only, because a crash of ONNX Runtime would take the tests with it. Each worker is a process of its own that says
which file it is about to try, so that a crash or a hang has a name, and how much memory it has: what it grows by over
the second half of its files is printed. Findings are written as tests/corpus wants them.
``--atheris`` lets coverage steer instead (pip install atheris).
"""

import argparse
import faulthandler
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

if "--atheris" in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["vtadl", "fuzzing", "PIL"]):  # only what is imported now is steered
        from helpers import fuzzing  # noqa: F401

import torch

from helpers.fuzzing import REFUSED, TAKEN, Change, Door, break_file, make_doors, outcome

BATCH = 2000
HANG_SECONDS = 30
MEMORY_BYTES = 12 * 2**30
"""Address space of a worker: a file that makes it ask for more ends in a MemoryError, which is a finding."""
SHARES = {
    **{"image": 30, "run": 14, "export": 9, "map": 13, "config": 7, "region": 6, "rows": 3, "state": 2},
    **{"mask": 4, "drawing": 5, "layout": 2, "split": 1, "checkpoint": 3, "model": 1},
}


def model_door(root: Path) -> Door:
    """An exported model whose checksum is right, broken inside: what ONNX Runtime makes of it."""
    from helpers.categories import good_image
    from helpers.exports import tiny_run
    from vtadl.export.export import export_run
    from vtadl.runtime import load

    run = tiny_run(root / "model", "paper", "model.image_size=32", "model.patch_size=8")
    export_run(run, root / "model/onnx", to="onnx", images=[good_image(60)])

    def fix(path: Path) -> None:
        manifest = path.with_name("manifest.json")
        content = json.loads(manifest.read_text())
        content["files"] = {"model.onnx": hashlib.sha256(path.read_bytes()).hexdigest()}
        manifest.unlink()
        manifest.write_text(json.dumps(content))

    return Door(
        seeds=(("model.onnx", (root / "model/onnx/model.onnx").read_bytes()),),
        folder=root / "model/onnx",
        open=lambda path: load(path.parent, threads=1).predict(good_image(60)),
        fix=fix,
    )


def random_changes(rng: np.random.Generator) -> list[Change]:
    numbers = rng.integers(0, 2**31, (int(rng.integers(1, 7)), 3))
    return [Change(*(int(number) for number in row)) for row in numbers]


def case(door: Door, name: str, seed: int, number: int) -> tuple[str, bytes]:
    """The broken file of this number, always the same."""
    rng = np.random.default_rng([seed, number, *name.encode()])
    file, content = door.seeds[int(rng.integers(len(door.seeds)))]
    return file, break_file(content, random_changes(rng))


def work(name: str, seed: int, first: int, count: int, out: Path) -> None:
    """A worker: try files, say what comes of them, a line each."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        doors = make_doors(Path(scratch)) if name != "model" else {"model": model_door(Path(scratch))}
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        for number in range(first, first + count):
            file, content = case(doors[name], name, seed, number)
            (out / "current").write_bytes(content)
            print(f"trying\t{number}\t{file}", flush=True)
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            end = outcome(doors[name], file, content)
            print(f"done\t{end!r}\t{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}", flush=True)
            faulthandler.cancel_dump_traceback_later()


def supervise(name: str, seed: int, count: int, out: Path) -> tuple[Counter[str], list[str], int]:
    """Try ``count`` files at a door, in one worker after another; with the most that one's memory grew by, in MB."""
    counts: Counter[str] = Counter()
    grown = 0
    findings: list[str] = []
    first = 0
    while first < count:
        scratch = out / f"{name}-{first}"
        scratch.mkdir(parents=True)
        arguments = [name, str(seed), str(first), str(min(BATCH, count - first)), str(scratch)]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--work", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        tried = [line for line in lines if line[0] == "trying"]
        ended = [line[1].strip("'\"") for line in lines if line[0] == "done"]
        memory = [int(line[2]) for line in lines if line[0] == "done"]
        # What the first half needs is not growth: the largest of its files is loaded once.
        grown = max([grown, *(memory[-1] - memory[len(memory) // 2] for _ in memory[:1])])
        if not tried:
            raise SystemExit(f"the worker for '{name}' did not start: {done.stderr[-2000:]}")
        counts.update(end if end in (TAKEN, REFUSED) else "finding" for end in ended)
        for (_, number, file), end in zip(tried, ended, strict=False):
            if end not in (TAKEN, REFUSED):
                findings.append(f"{name}\t{number}\t{file}\t{end}")
        first += len(tried)
        if len(tried) > len(ended):
            _, number, file = tried[-1]
            kind = "hang" if "Timeout" in done.stderr else f"crash ({done.returncode})"
            counts[kind] += 1
            findings.append(f"{name}\t{number}\t{file}\t{kind}")
            (scratch / "current").rename(out / f"{name}-{number}_{file.replace('/', '@')}")
        (scratch / "current").unlink(missing_ok=True)
        scratch.rmdir()
    return counts, findings, grown


def steer(name: str, seconds: int) -> None:
    """Let atheris find its way through the Python code behind a door."""
    import atheris

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        door = make_doors(Path(scratch))[name]

        def one(data: bytes) -> None:
            provider = atheris.FuzzedDataProvider(data)
            file, content = door.seeds[provider.ConsumeIntInRange(0, len(door.seeds) - 1)]
            changes = [
                Change(provider.ConsumeUInt(1), provider.ConsumeUInt(3), provider.ConsumeUInt(2))
                for _ in range(provider.ConsumeIntInRange(1, 6))
            ]
            end = outcome(door, file, break_file(content, changes))
            if end not in (TAKEN, REFUSED):
                raise AssertionError(f"{file}: {end}")

        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS}"], one)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--door", action="append", choices=SHARES, help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, *numbers, out = options.work
        work(name, *(int(number) for number in numbers), Path(out))
        return
    names = options.door or list(SHARES)
    if options.atheris:
        steer(names[0], options.seconds)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    total, everything = Counter[str](), []
    print(f"{'door':<10}{'files':>8}{'taken':>8}{'refused':>9}{'findings':>10}{'MB more':>9}{'s':>8}", flush=True)
    for name in names:
        started = time.perf_counter()
        count = round(options.files * SHARES[name] / sum(SHARES[each] for each in names))
        counts, findings, grown = supervise(name, options.seed, count, options.out)
        everything += findings
        total += counts
        bad = counts.total() - counts[TAKEN] - counts[REFUSED]
        print(
            f"{name:<10}{counts.total():>8}{counts[TAKEN]:>8}{counts[REFUSED]:>9}{bad:>10}{grown:>9}"
            f"{time.perf_counter() - started:>8.0f}",
            flush=True,
        )
    print(f"{total.total()} files, {len(everything)} findings")
    print("\n".join(everything))
    sys.exit(1 if everything else 0)


if __name__ == "__main__":
    main()
