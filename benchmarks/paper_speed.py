"""What does one training step and one score of the published VT-ADL cost here, and what does its literal version cost?

python benchmarks/paper_speed.py [--rounds 5] [--batch 8] [--threads 2]

Both versions run in one process, turn by turn, so that other work on the machine hits both alike: the numbers are
ratios of medians. The literal version (tests/helpers/literal_vtadl.py) routes capsules by a loop over explicit votes,
expands the mixture, filters SSIM with a full window and fuses nothing. A step is forward pass, losses, backward pass
and Adam, in float32 at 512 x 512. Peak memory is the largest resident set of a process that does nothing but three
steps of one version. The machine's peak is the best of a product of two 2048 x 2048 matrices between the rounds; the
share of it is reached by the products that the published network has, forward and backward (2 operations each), in the
time of a step: what is computed twice or in vain counts as time, not as products.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.literal_vtadl import PublishedVtadl
from vtadl.config.schema import PaperConfig
from vtadl.losses.objective import parse_objective
from vtadl.models.paper_network import PaperModel
from vtadl.models.reference_checkpoint import OBJECTIVE

LIMITS = {"step": 0.6, "memory": 0.5, "map": 1 / 3, "map and image": 0.7}
"""What each ratio is meant to stay below."""


def images(batch: int) -> Tensor:
    return torch.rand(batch, 3, 512, 512, generator=torch.Generator().manual_seed(0))


def literal_step(batch: int) -> tuple[Callable[[], object], PublishedVtadl]:
    model = PublishedVtadl().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)
    x = images(batch)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()

    return step, model


def our_step(batch: int) -> tuple[Callable[[], object], PaperModel]:
    objective = parse_objective(OBJECTIVE)
    model = PaperModel(PaperConfig(variant="faithful"), objective).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4, fused=True)
    x, samples = images(batch), list(range(batch))

    def step() -> None:
        optimizer.zero_grad()
        terms, _ = model.terms(x, seed=0, step=0, samples=samples)
        torch.stack([weight * terms[name] for name, weight in objective.terms]).sum().backward()
        optimizer.step()

    return step, model


STEPS = {"literal": literal_step, "vtadl": our_step}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            taken = seconds(work)
            if turn:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_flops(best_of: int = 15) -> float:
    """Operations a second of the best of several products of two 2048 x 2048 matrices."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / min(seconds(lambda: a @ a) for _ in range(best_of))


def step_flops(batch: int) -> int:
    """Operations of the published network's matrix products and convolutions, forward and backward."""
    model = PublishedVtadl().train()
    with FlopCounterMode(display=False) as counter:
        decoded, score = model(images(1))
        (decoded.sum() + score.sum()).backward()
    return batch * counter.get_total_flops()


def peak_memory(version: str, batch: int, threads: int) -> float:
    """Gigabytes, in a process of its own."""
    command = [sys.executable, __file__, "--memory", version, "--batch", str(batch), "--threads", str(threads)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def report(name: str, literal: float, ours: float, unit: str, limit: str) -> None:
    ratio = ours / literal
    verdict = "" if ratio <= LIMITS[limit] else "  MISSED"
    print(f"{name:34} literal {literal:8.3f} {unit}   vtadl {ours:8.3f} {unit}   ratio {ratio:.3f}"
          f" (at most {LIMITS[limit]:.2f}){verdict}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.memory:
        step, _ = STEPS[options.memory](options.batch)
        for _ in range(3):
            step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
        return
    memory = {version: peak_memory(version, options.batch, options.threads) for version in STEPS}
    report("peak memory of a training step", memory["literal"], memory["vtadl"], "GB", "memory")
    steps, models = {}, {}
    for version, make in STEPS.items():
        steps[version], models[version] = make(options.batch)
    peaks = [peak_flops()]
    step = medians(steps, options.rounds)
    peaks.append(peak_flops())
    report(f"training step, batch {options.batch}", step["literal"], step["vtadl"], "s", "step")
    operations, peak = step_flops(options.batch), max(peaks)
    reached = ", ".join(f"{version} {operations / step[version] / peak:.0%}" for version in STEPS)
    print(f"{operations / 1e9:.0f} billion operations a step; the machine's peak: {peak / 1e9:.0f} billion a second;"
          f" reached: {reached}", flush=True)  # fmt: skip
    literal, ours = models["literal"].eval(), models["vtadl"].eval()
    x = images(1)
    works: dict[str, Callable[[], object]] = {
        "literal": torch.inference_mode()(lambda: literal(x)),
        "map": lambda: ours.anomaly_map(x),
        "map and image": lambda: ours.maps(x),
    }
    scoring = medians(works, 5 * options.rounds)
    for name in ("map", "map and image"):
        report(f"scoring one image, {name}", 1000 * scoring["literal"], 1000 * scoring[name], "ms", name)


if __name__ == "__main__":
    main()
