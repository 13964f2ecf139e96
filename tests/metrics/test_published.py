"""What the published code calls PRO, against a slow computation of it, and against what it claims to be."""

import numpy as np
import pytest

from vtadl.metrics import aupro
from vtadl.metrics.published import CROPPED, RESIZED, published_pro


def triangle_weights(old: int, new: int) -> np.ndarray:
    """Bilinear interpolation with a support that grows where it shrinks, row by row from its definition."""
    scale = old / new
    support = max(scale, 1.0)
    weights = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * scale
        for column in range(old):
            weights[row, column] = max(0.0, 1 - abs(column + 0.5 - centre) / support)
        weights[row] /= weights[row].sum()
    return weights


def slow_middle(image: np.ndarray) -> np.ndarray:
    rows, columns = (triangle_weights(side, RESIZED) for side in image.shape)
    start = (RESIZED - CROPPED) // 2
    return (rows @ image @ columns.T)[start : start + CROPPED, start : start + CROPPED]


@pytest.mark.parametrize("shape", [(40, 60), (700, 640)])
def test_is_the_auroc_of_the_resized_middle(shape):
    rng = np.random.default_rng(1)
    maps = [rng.random(shape, np.float32) for _ in range(2)]
    mask = np.zeros(shape, bool)
    mask[shape[0] // 3 : shape[0] // 2, shape[1] // 3 : shape[1] // 3 + 9] = True
    scores = np.concatenate([slow_middle(one).ravel() for one in maps])
    # Pillow rounds eight-bit pictures to whole numbers after each of its two passes.
    rows, columns = (triangle_weights(side, RESIZED) for side in shape)
    start = (RESIZED - CROPPED) // 2
    dilated = np.round(rows @ np.round((mask * 255.0) @ columns.T)) > 0
    dilated = dilated[start : start + CROPPED, start : start + CROPPED]
    labels = np.concatenate([dilated.ravel(), np.zeros(CROPPED**2, bool)])
    found = published_pro(maps, [mask, None])
    negatives, positives = np.sort(scores[~labels]), scores[labels]
    # The chance that a defective pixel scores higher; no two interpolated scores of this size are equal.
    expected = np.searchsorted(negatives, positives).mean() / len(negatives)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_border_does_not_count_and_masks_grow():
    mask, at_border = np.zeros((RESIZED, RESIZED), bool), np.zeros((RESIZED, RESIZED), bool)
    mask[200:220, 200:220] = at_border[:10] = True
    perfect = mask.astype(np.float32)
    assert published_pro([perfect, at_border.astype(np.float32)], [mask, at_border]) == 1
    assert published_pro([at_border.astype(np.float32)], [at_border]) is None
    small = np.zeros((110, 110), bool)
    small[40:44, 40:44] = True
    # Five times as large, the region's rim is interpolated: it counts as defective whatever a map says there.
    nearest = np.kron(small, np.ones((5, 5))).astype(np.float32)
    assert published_pro([nearest], [small]) < 1


def test_one_large_region_outweighs_ten_small_ones_that_are_missed():
    """Why the number is no PRO: regions do not count alike, pixels do."""
    mask = np.zeros((RESIZED, RESIZED), bool)
    mask[100:300, 100:300] = True
    scores = mask.astype(np.float32) + np.random.default_rng(0).random(mask.shape).astype(np.float32) / 2
    for column in range(60, 460, 40):
        mask[400:404, column : column + 4] = True
    assert published_pro([scores], [mask]) > 0.99
    assert aupro([scores], [mask]) < 0.3
