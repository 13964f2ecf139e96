"""Random test sets: a few images with masks, and scores of many kinds."""

import numpy as np

from vtadl.metrics import ScoredImage

FAMILIES = ("normal", "ties", "heavy", "scales", "infinities", "constant", "narrow")


def scores(rng, family, shape, dtype):
    normal = rng.standard_normal(shape)
    values = {
        "normal": lambda: normal,
        "ties": lambda: rng.integers(-2, 3, shape) * 1.0,
        "heavy": lambda: rng.standard_t(1, shape),
        "scales": lambda: normal * 10.0 ** rng.integers(-36, 37, shape),
        "infinities": lambda: np.where(rng.random(shape) < 0.3, np.sign(normal) * np.inf, np.round(normal, 1)),
        "constant": lambda: np.full(shape, 0.25),
        "narrow": lambda: 1000 + 1e-3 * normal,
    }[family]()
    values = np.where(rng.random(shape) < 0.05, rng.choice([-0.0, 0.0]), values) if family != "constant" else values
    return values.astype(dtype)


def mask(rng, shape):
    """Pixels, rectangles at the border or everywhere, or diagonals that only 8-connectivity joins."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.random(shape) < 0.2
    if kind == 1:
        return np.eye(*shape, dtype=bool)
    found = np.zeros(shape, dtype=bool)
    for _ in range(rng.integers(1, 4)):
        row, column = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        found[row : row + rng.integers(1, 4), column : column + rng.integers(1, 4)] = True
    return found


def images(seed, family, dtype=np.float32, n=None, side=7, shift=0.0):
    """Good and defective images in turn; at least one defective pixel and one defect-free."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(n or rng.integers(2, 6)):
        shape = (int(rng.integers(2, side + 1)), int(rng.integers(2, side + 1)))
        good = index % 2 == 0
        truth = None if good else mask(rng, shape)
        if index == 1:
            truth.flat[rng.integers(truth.size)] = True
        anomaly_map = scores(rng, family, shape, dtype)
        if shift and not good:
            anomaly_map[truth] += dtype(shift)
        defect = "good" if good else f"type{rng.integers(2)}"
        score = float(anomaly_map.max())
        found.append(ScoredImage(name=f"{index:03d}", defect=defect, score=score, anomaly_map=anomaly_map, mask=truth))
    return found


def arrays(scored):
    """Maps, masks, and the scores of defect-free and of defective pixels."""
    maps = [i.anomaly_map for i in scored]
    masks = [i.mask if i.mask is not None else np.zeros(i.anomaly_map.shape, dtype=bool) for i in scored]
    negatives = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    positives = np.concatenate([m[k] for m, k in zip(maps, masks, strict=True)])
    return maps, masks, negatives, positives
