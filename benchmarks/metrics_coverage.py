"""Do the 95 % intervals cover the truth in 95 % of test sets? Simulated, metric by metric.

Each set has 60 good and 40 defective images of 12 x 12 pixels, each defect a square of 3 x 3. An image's own level
shifts its score and all of its pixels; a defect lifts the score, and its pixels by an amount that differs between
images. The truth is the metric of one set of 20,000 images. Run: python benchmarks/metrics_coverage.py
"""

import argparse
import time

import numpy as np
from scipy.special import ndtri

from vtadl.metrics import ScoredImage, evaluate

SIDE, DEFECT = 12, 3


def simulate(rng: np.random.Generator, n_good: int, n_bad: int, auroc: float) -> list[ScoredImage]:
    lift = float(np.sqrt(2) * ndtri(auroc))
    images = []
    for index in range(n_good + n_bad):
        level = float(rng.standard_normal())
        anomaly_map = rng.standard_normal((SIDE, SIDE)) + 0.5 * level
        if index < n_good:
            images.append(ScoredImage(name=str(index), defect="good", score=level, anomaly_map=anomaly_map, mask=None))
            continue
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        row, column = rng.integers(0, SIDE - DEFECT + 1, 2)
        mask[row : row + DEFECT, column : column + DEFECT] = True
        anomaly_map[mask] += lift * rng.uniform(0.5, 1.5)
        images.append(
            ScoredImage(name=str(index), defect="defect", score=level + lift, anomaly_map=anomaly_map, mask=mask)
        )
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--auroc", type=float, action="append", help="0.80, 0.90 and 0.97 where none is given")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated sets")
    arguments = parser.parse_args()
    started = time.perf_counter()
    for auroc in arguments.auroc or (0.80, 0.90, 0.97):
        rng = np.random.default_rng([arguments.seed, round(100 * auroc)])
        truth = evaluate(simulate(rng, 12_000, 8_000, auroc), bootstrap=0).metrics
        covered, widths = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0.0)
        for number in range(arguments.sets):
            evaluation = evaluate(simulate(rng, 60, 40, auroc), bootstrap=arguments.resamples, seed=number)
            for name, interval in evaluation.intervals.items():
                covered[name] += interval[0] <= truth[name] <= interval[1]
                widths[name] += interval[1] - interval[0]
        print(f"image AUROC {auroc:.2f}, {arguments.sets} sets, {arguments.resamples} resamples:")
        for name, count in covered.items():
            share, width = count / arguments.sets, widths[name] / arguments.sets
            print(f"  {name:17s} truth {truth[name]:.4f}  covered {share:6.1%}  mean width {width:.3f}", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
