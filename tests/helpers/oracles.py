"""The slow, obvious versions of the metrics: one loop over the thresholds, straight from the definitions."""

import numpy as np
from skimage.measure import label


def auroc(negatives, positives):
    wins = sum(np.sum(p > negatives) + 0.5 * np.sum(p == negatives) for p in positives)
    return wins / (len(negatives) * len(positives))


def average_precision(negatives, positives):
    area, recall_before = 0.0, 0.0
    for threshold in np.unique(positives)[::-1]:
        true, false = np.sum(positives >= threshold), np.sum(negatives >= threshold)
        recall = true / len(positives)
        area += (recall - recall_before) * true / (true + false)
        recall_before = recall
    return area


def f1_max(negatives, positives):
    best = 0.0
    for threshold in np.unique(np.concatenate([negatives, positives])):
        true, false = np.sum(positives >= threshold), np.sum(negatives >= threshold)
        best = max(best, 2 * true / (true + false + len(positives)))
    return best


def regions(masks):
    """Boolean maps over the whole set, one for each region, 8-connected."""
    found = []
    for index, mask in enumerate(masks):
        labels = label(mask, connectivity=2)
        found += [(index, labels == number) for number in range(1, labels.max() + 1)]
    return found


def pro_points(maps, masks):
    """False positive rate and mean overlap at every distinct score of the set, from the highest down."""
    scores = np.concatenate([m.ravel() for m in maps])
    defect_free = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    region_scores = [maps[index][region] for index, region in regions(masks)]
    x, y = [0.0], [0.0]
    for threshold in np.unique(scores)[::-1]:
        x.append(np.mean(defect_free >= threshold))
        y.append(np.mean([np.mean(s >= threshold) for s in region_scores]))
    return np.array(x), np.array(y)


def area_to_limit(x, y, limit):
    area = 0.0
    for x0, x1, y0, y1 in zip(x[:-1], x[1:], y[:-1], y[1:], strict=True):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            y_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + y_limit) / 2
    return area / limit


def aupro(maps, masks, limit):
    return area_to_limit(*pro_points(maps, masks), limit)


def aupimo(good_maps, maps, masks, low=1e-5, high=1e-4):
    """Mean over defective images of the recall over log FPR, each rate at the lowest threshold that keeps to it."""
    thresholds = np.unique(np.concatenate([m.ravel() for m in [*good_maps, *maps]]))[::-1]
    rates = np.array([np.mean([np.mean(m >= t) for m in good_maps]) for t in thresholds])
    means = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        recalls = [np.mean(anomaly_map[mask] >= t) for t in thresholds]
        area, at, recall = 0.0, np.log(low), 0.0
        for rate, value in zip(rates, recalls, strict=True):
            if rate > high:
                break
            if rate > low:
                area += (np.log(rate) - at) * recall
                at = np.log(rate)
            recall = value
        area += (np.log(high) - at) * recall
        means.append(area / np.log(high / low))
    return means
