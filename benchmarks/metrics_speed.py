"""How fast are all metrics together, against scikit-learn's pixel AUROC alone and anomalib's AUPRO alone?

100 float32 anomaly maps, Student's t with 2 degrees of freedom (heavy tails), 40 of them with two round defects, 2 % of
all pixels. Everything runs in one process on the same maps; our times are medians of five, the
others', many times as long, are of one run.
Run: python benchmarks/metrics_speed.py [--quick]; with anomalib: in an environment of its own that has it and vtadl.
"""

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from vtadl.metrics import ScoredImage, evaluate


def make(n: int, side: int, dtype: type = np.float32) -> list[ScoredImage]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    radius = side * np.sqrt(0.02 / 0.4 / 2 / np.pi)
    images = []
    for index in range(n):
        anomaly_map = rng.standard_t(2, (side, side)).astype(dtype)
        mask = None
        if index % 5 < 2:
            centres = rng.uniform(radius, side - radius, (2, 2))
            mask = np.logical_or(*((rows - y) ** 2 + (columns - x) ** 2 < radius**2 for y, x in centres))
            anomaly_map[mask] += dtype(1.5)
        images.append(
            ScoredImage(
                name=f"{index:04d}",
                defect="good" if mask is None else "blob",
                score=float(anomaly_map.max()),
                anomaly_map=anomaly_map,
                mask=mask,
            )
        )
    return images


def stacked(images: list[ScoredImage]) -> tuple[np.ndarray, np.ndarray]:
    maps = np.stack([i.anomaly_map for i in images])
    masks = np.stack([i.mask if i.mask is not None else np.zeros(i.anomaly_map.shape, dtype=bool) for i in images])
    return maps, masks


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def anomalib_aupro(maps: np.ndarray, masks: np.ndarray) -> Callable[[], object] | None:
    try:
        import torch
        from anomalib.metrics.aupro import _AUPRO
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch raises the latter
        print(f"anomalib: not measured ({error})")
        return None

    def work() -> object:
        metric = _AUPRO(fpr_limit=0.3)
        metric.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
        return float(metric.compute())

    return work


def against_others(repeats: int, dtypes: tuple[type, ...]) -> None:
    for side in (256, 512):
        for dtype in dtypes:
            images = make(100, side, dtype)
            maps, masks = stacked(images)
            ours = median_seconds(lambda images=images: evaluate(images, bootstrap=0), repeats)
            line = f"100 maps of {side} x {side}, {np.dtype(dtype)}: all metrics {ours:.3f} s"
            theirs = median_seconds(lambda m=masks, s=maps: roc_auc_score(m.ravel(), s.ravel()), 1)
            line += f"; scikit-learn's roc_auc_score {theirs:.2f} s = {theirs / ours:.1f} times"
            other = anomalib_aupro(maps, masks) if dtype is np.float32 else None
            if other:
                theirs = median_seconds(other, 1)
                line += f"; anomalib's AUPRO {theirs:.2f} s = {theirs / ours:.1f} times"
            print(line, flush=True)


def intervals() -> None:
    images = make(100, 512)
    without = median_seconds(lambda: evaluate(images, bootstrap=0), 3)
    with_them = median_seconds(lambda: evaluate(images, bootstrap=1000), 3)
    error = evaluate(images, bootstrap=1).binning_error
    print(
        f"intervals of all metrics, 1,000 resamples of 100 maps of 512 x 512: {with_them - without:.2f} s more; ",
        end="",
    )
    print(f"binning error {error:.1e}")


def scaling(sizes: tuple[int, ...]) -> None:
    for n in sizes:
        images = make(n, 512)
        started = time.perf_counter(), time.process_time()
        evaluate(images, bootstrap=0)
        seconds, busy = time.perf_counter() - started[0], time.process_time() - started[1]
        size = sum(i.anomaly_map.nbytes for i in images)
        tracemalloc.start()
        evaluate(images, bootstrap=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(
            f"{n} maps of 512 x 512: {seconds:.2f} s, {1e9 * busy / (n * 512 * 512):.1f} ns of processor time a pixel; "
            f"peak memory {1 + peak / size:.2f} times the maps, themselves included",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions, no set of 1,000 maps")
    quick = parser.parse_args().quick
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}")
    against_others(3 if quick else 5, (np.float32,) if quick else (np.float32, np.float64))
    intervals()
    scaling((100, 300) if quick else (100, 300, 1000))


if __name__ == "__main__":
    main()
