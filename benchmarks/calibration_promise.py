"""Does calibration keep its promise? The realised false-reject rate, over many calibrations.

python benchmarks/calibration_promise.py [--data FOLDER]

Synthetic: scores drawn from three distributions; for each of 1,000 calibrations the true rate beyond its threshold is
known exactly. Real (with ``--data``, the folder that holds ``magnetic_tile`` and ``mvtec/transistor``): a detector is
trained once, the good images that it did not see (held out, and good test images) are one pool, and 1,000 times some of
the pool calibrate and the rest is judged. Nothing is trained on what is judged.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from vtadl.decision.threshold import conformal_threshold, rank_of_rate, rate_interval

REPEATS = 1000
DISTRIBUTIONS = {"normal": stats.norm(3, 1), "log-normal": stats.lognorm(1), "t, 2 degrees": stats.t(2)}
SETTINGS = ((21, 0.05), (60, 0.05), (99, 0.01), (200, 0.1))


def synthetic() -> None:
    for seed, (count, rate) in enumerate(SETTINGS):
        rank = rank_of_rate(rate, count)
        low, high = rate_interval(rank, count)
        for other, (name, distribution) in enumerate(DISTRIBUTIONS.items()):
            rng = np.random.default_rng([seed, other])
            scores = distribution.rvs((REPEATS, count), random_state=rng)
            true = np.array([distribution.sf(conformal_threshold(list(row), rate)) for row in scores])
            line(f"{name}, {count} images", rate, true, np.mean((low <= true) & (true <= high)))


def real(root: Path) -> None:
    import vtadl
    from vtadl.data.layouts import read_category

    for name in ("magnetic_tile", "mvtec/transistor"):
        category = read_category(root / name)
        detector = vtadl.train(category.root, device="cpu")
        good = [sample.path for sample in category.test if not sample.is_defective]
        pool = np.array([*detector.run.held_out.scores, *(detector.predict(path).score for path in good)])
        for count, rate in ((21, 0.05), (40, 0.05), (40, 0.1)):
            rank, rest = rank_of_rate(rate, count), len(pool) - count
            # What a share of finitely many images does about the Beta interval of the true rate.
            low, high = stats.betabinom(rest, rank, count + 1 - rank).interval(0.95)
            rng = np.random.default_rng(count)
            orders = [rng.permutation(len(pool)) for _ in range(REPEATS)]
            rejected = np.array(
                [np.sum(pool[o[count:]] > conformal_threshold(list(pool[o[:count]]), rate)) for o in orders]
            )
            inside = np.mean((low <= rejected) & (rejected <= high))
            line(f"{category.name}, {count} of {len(pool)} images", rate, rejected / rest, inside)


def line(name: str, rate: float, realised: np.ndarray, inside: float) -> None:
    error = realised.std(ddof=1) / len(realised) ** 0.5
    bound = rate + 3 * error
    verdict = "kept" if realised.mean() <= bound else "BROKEN"
    print(f"{name:<36} {rate:>6.2f} {realised.mean():>9.4f} {error:>8.4f} {verdict:>7} {inside:>8.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    print(f"{'calibrated on':<36} {'asked':>6} {'realised':>9} {'error':>8} {'mean':>7} {'inside':>8}")
    synthetic()
    if options.data:
        real(options.data)


if __name__ == "__main__":
    main()
