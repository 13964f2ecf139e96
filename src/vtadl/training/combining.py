"""Choose which parts of a combined detector count, on defects planted in good images that it did not learn from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.data.loading import evenly_spread, load_images
from vtadl.data.roi import blanked, mask_or_everything
from vtadl.data.synthetic_defects import KINDS, planted_each
from vtadl.metrics.evaluation import evaluate
from vtadl.metrics.images import GOOD, ScoredImage
from vtadl.models.context import PARTS, WHETHER, ContextDetector
from vtadl.progress import Progress

FAR_BEHIND = 0.2
"""How much lower than the best a part's figure on planted defects may be. Finer choices by planted defects were
compared and are worse than equal weights: what is planted is not what happens, and only tells a part that fails from
one that works."""
MOST_PLANTED = 8
"""Images that defects are planted in, at most: enough to find a part that fails."""
SHRINKING = 2
"""Maps are compared at the model's size divided by this: a defect of a few pixels is still there."""
AUROC, AUPRO = "image_AUROC", "pixel_AUPRO@0.3"


def combine(
    model: ContextDetector,
    paths: Sequence[Path],
    looked_at: NDArray[np.bool_] | None,
    device: torch.device,
    seed: int,
    progress: Progress,
    *,
    where: Sequence[str],
) -> dict[str, Any]:
    """Bring the parts to one scale and choose those that count, in place.

    Every image is scored as it is, and some with one planted defect of each kind. Which parts say whether an image is
    odd, and which where, is the model's design (`WHETHER`, ``where``); one that is far behind the best at it is not
    asked. The discriminant was taught planted defects, so that these say nothing of it: it is asked where it was
    fitted. Nothing of a test set is seen.

    Args:
        model: trained, its parts not yet joined.
        paths: good images that it did not learn from.
        looked_at: region of interest.
        device: of the model.
        seed: of the planted defects.
        progress: shows how far it is.
        where: the parts that are to say where.

    Returns:
        How much each part counts, and how well each and all together find the planted defects, for the run's record.
    """
    planted_in = evenly_spread(paths, MOST_PLANTED)
    values_BKHW, masks, kinds = _scored(model, paths, planted_in, looked_at, device, seed, progress)
    good = values_BKHW[[kind == GOOD for kind in kinds]]
    model.combination.fit(good)
    standard_BKHW = model.combination.standardised(values_BKHW)
    size = (model.input_size[0] // SHRINKING, model.input_size[1] // SHRINKING)
    upsampling = model.upsampling_to(size).to(device)
    judged = [name for name in PARTS if name != "discriminant"]
    alone = {name: _figures(upsampling(standard_BKHW[:, PARTS.index(name)]), masks, kinds) for name in judged}
    whether_K, where_K = (_asked(alone, figure, meant) for figure, meant in ((AUROC, WHETHER), (AUPRO, where)))
    where_K[PARTS.index("discriminant")] = model.discriminant.fitted
    model.combination.count(good, whether_K=whether_K, where_K=where_K)
    return {
        "whether": dict(zip(PARTS, model.combination.whether.tolist(), strict=True)),
        "where": dict(zip(PARTS, model.combination.where.tolist(), strict=True)),
        "planted": {**alone, "together": _figures(model.joined(values_BKHW, upsampling), masks, kinds)},
        "planted_in": len(planted_in),
    }


def _asked(alone: Mapping[str, Mapping[str, float]], figure: str, meant: Sequence[str]) -> Tensor:
    """The parts that are meant for a question and not far behind the best at it, or the best where none is; bool."""
    best = max(alone, key=lambda name: alone[name][figure])
    close = [name for name in meant if alone[name][figure] >= alone[best][figure] - FAR_BEHIND]
    return torch.tensor([name in (close or [best]) for name in PARTS])


def _scored(
    model: ContextDetector,
    paths: Sequence[Path],
    planted_in: Sequence[Path],
    looked_at: NDArray[np.bool_] | None,
    device: torch.device,
    seed: int,
    progress: Progress,
) -> tuple[Tensor, list[NDArray[np.bool_]], list[str]]:
    """Values of all parts, ``(B, K, H, W)``, of images as they are and with each defect, with masks and kinds."""
    size = model.input_size
    # A defect where nothing is looked at could not be found by any part.
    inside_HW = mask_or_everything(looked_at, size)
    parts, masks, kinds = [], [], []
    with progress("combining", len(paths)) as advance:
        for batch in load_images(paths, size, batch_size=1):
            image_3HW = blanked(batch.images, looked_at)[0].numpy()
            shown = [(GOOD, image_3HW, np.zeros(size, bool))]
            if paths[batch.indices[0]] in planted_in:
                shown += planted_each(image_3HW, KINDS, inside_HW, (seed, batch.indices[0]))
            # One by one: together, very large images would take more memory than all else.
            for _, changed_3HW, _ in shown:
                parts.append(model.parts(torch.from_numpy(changed_3HW)[None].to(device)))
            masks += [mask[::SHRINKING, ::SHRINKING] for _, _, mask in shown]
            kinds += [kind for kind, _, _ in shown]
            advance(1)
    return torch.cat(parts), masks, kinds


def _figures(maps_BHW: Tensor, masks: Sequence[NDArray[np.bool_]], kinds: Sequence[str]) -> dict[str, float]:
    maps = maps_BHW.cpu().numpy()
    images = [
        ScoredImage(name=f"{number}", defect=kind, score=float(score_map.max()), score_map=score_map, mask=mask)
        for number, (score_map, mask, kind) in enumerate(zip(maps, masks, kinds, strict=True))
        if kind == GOOD or mask.any()
    ]
    found = evaluate(images, bootstrap=0, limits=(0.3,)).figures
    return {name: round(float(found[name] or 0.0), 6) for name in (AUPRO, AUROC)}
