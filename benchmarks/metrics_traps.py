"""What the known mistakes do to a number: one simulated test set, metrics computed rightly and wrongly.

60 good and 40 defective images of 128 x 128, heavy-tailed scores, defects of many sizes.
Run: python benchmarks/metrics_traps.py
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vtadl.metrics import ScoredImage, evaluate

SIDE = 128


def make(n_good: int = 60, n_bad: int = 40) -> list[ScoredImage]:
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = []
    for index in range(n_good + n_bad):
        noise = ndimage.gaussian_filter(rng.standard_t(3, (SIDE, SIDE)), 1.5)
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        defective = index >= n_good
        for _ in range(rng.integers(1, 4) if defective else 0):
            y, x, radius = rng.uniform(5, SIDE - 5), rng.uniform(5, SIDE - 5), rng.choice([3, 6, 18])
            blob = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            mask |= blob
            noise += ndimage.gaussian_filter(blob * rng.uniform(0.3, 1.5), 2)
        anomaly_map = np.exp(2 * noise).astype(np.float32)
        images.append(
            ScoredImage(
                name=f"{index:03d}",
                defect="blob" if defective else "good",
                score=float(anomaly_map.max()),
                anomaly_map=anomaly_map,
                mask=mask if defective else None,
            )
        )
    return images


def changed(images: list[ScoredImage], change: Callable[[NDArray], NDArray]) -> list[ScoredImage]:
    found = []
    for image in images:
        anomaly_map = change(image.anomaly_map).astype(np.float32)
        found.append(dataclasses.replace(image, anomaly_map=anomaly_map, score=float(anomaly_map.max())))
    return found


def metric(images: list[ScoredImage], name: str) -> float:
    return evaluate(images, bootstrap=0).metrics[name]


def sampled_aupro(images: list[ScoredImage], limit: float = 0.3, interpolate: bool = True) -> float:
    """AUPRO from 200 thresholds at equal distances between the lowest and the highest score, as many tools do."""
    maps = [i.anomaly_map for i in images]
    masks = [i.mask if i.mask is not None else np.zeros((SIDE, SIDE), dtype=bool) for i in images]
    free = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [anomaly_map[labels == n + 1] for n in range(count)]
    x, y = [0.0], [0.0]
    for threshold in np.linspace(max(m.max() for m in maps), min(m.min() for m in maps), 200):
        x.append(np.mean(free >= threshold))
        y.append(np.mean([np.mean(r >= threshold) for r in regions]))
    x, y = np.array(x), np.array(y)
    if interpolate:
        x, y = np.append(x[x < limit], limit), np.append(y[x < limit], np.interp(limit, x, y))
    else:  # run on to the first point beyond the limit, but divide by the limit
        end = np.searchsorted(x, limit) + 1
        x, y = x[:end], y[:end]
    return float(np.trapezoid(y, x) / limit)


def dilated(images: list[ScoredImage]) -> list[ScoredImage]:
    """Masks through a bilinear resize by 1.2 and back, then ``> 0``."""
    found = []
    for image in images:
        if image.mask is None:
            found.append(image)
            continue
        larger = ndimage.zoom(image.mask.astype(float), 1.2, order=1)
        back = ndimage.zoom(larger, SIDE / larger.shape[0], order=1)
        found.append(dataclasses.replace(image, mask=back > 1e-6))
    return found


def main() -> None:
    images = make()
    raw = evaluate(images, bootstrap=0).metrics
    logs = changed(images, np.log)
    squares = changed(images, lambda m: m.astype(np.float64) ** 4)
    sigmoid = changed(images, lambda m: 1 / (1 + np.exp(-(m + np.float32(10)))))
    single = changed(images, lambda m: (m - m.min()) / (m.max() - m.min()))
    top = max(i.anomaly_map.max() for i in images)
    eight = changed(images, lambda m: np.floor(m / top * 255))
    pro, roc, image_roc = raw["pixel_AUPRO@0.3"], raw["pixel_AUROC"], raw["image_AUROC"]
    rows = [
        ("pixel AUROC printed as PRO", "AUPRO@0.3", pro, roc),
        ("200 thresholds at equal distances", "AUPRO@0.3", pro, sampled_aupro(images)),
        ("the same, of the logarithm of the scores", "AUPRO@0.3", metric(logs, "pixel_AUPRO@0.3"), sampled_aupro(logs)),
        (
            "the same, of the scores to the fourth power",
            "AUPRO@0.3",
            metric(squares, "pixel_AUPRO@0.3"),
            sampled_aupro(squares),
        ),
        ("no interpolation at the limit", "AUPRO@0.3", pro, sampled_aupro(images, interpolate=False)),
        ("a float32 sigmoid over the scores (plus 10)", "pixel AUROC", roc, metric(sigmoid, "pixel_AUROC")),
        ("maps normalised per image", "pixel AUROC", roc, metric(single, "pixel_AUROC")),
        ("maps normalised per image", "image AUROC", image_roc, metric(single, "image_AUROC")),
        ("maps stored in 8 bits", "AUPRO@0.3", pro, metric(eight, "pixel_AUPRO@0.3")),
        ("masks interpolated, then > 0", "AUPRO@0.3", pro, metric(dilated(images), "pixel_AUPRO@0.3")),
    ]
    print("| mistake | metric | right | with the mistake |\n|---|---|---|---|")
    for mistake, name, right, wrong in rows:
        print(f"| {mistake} | {name} | {right:.4f} | {wrong:.4f} |")


if __name__ == "__main__":
    main()
