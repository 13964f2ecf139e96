"""Choose which components of a combined detector count, on synthetic defects in good images that it did not learn
from.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.data.loading import evenly_spread, load_images
from vtadl.data.roi import blanked, mask_or_everything
from vtadl.data.synthetic_defects import KINDS, add_each_defect
from vtadl.metrics.evaluation import evaluate
from vtadl.metrics.images import GOOD, ScoredImage
from vtadl.models.context import COMPONENTS, DETECTION, ContextDetector
from vtadl.progress import Progress

FAR_BEHIND = 0.2
"""How much lower than the best a component's metric on synthetic defects may be. Finer choices by synthetic defects
were compared and are worse than equal weights: what is synthetic is not what happens, and only tells a component that
fails from one that works."""
MOST_SYNTHETIC = 8
"""Images that synthetic defects are made in, at most: enough to find a component that fails."""
SHRINKING = 2
"""Maps are compared at the model's size divided by this: a defect of a few pixels is still there."""
AUROC, AUPRO = "image_AUROC", "pixel_AUPRO@0.3"


def combine(
    model: ContextDetector,
    paths: Sequence[Path],
    roi_mask: NDArray[np.bool_] | None,
    device: torch.device,
    seed: int,
    progress: Progress,
    *,
    where: Sequence[str],
) -> dict[str, Any]:
    """Bring the components to one scale and choose those that count, in place.

    Every image is scored as it is, and some with one synthetic defect of each kind. Which components say whether an
    image is anomalous, and which where, is the model's design (`DETECTION`, ``where``); one that is far behind the best
    at it is not asked. The discriminant was taught synthetic defects, so that these say nothing of it: it is asked
    where it was fitted. Nothing of a test set is seen.

    Args:
        model: trained, its components not yet joined.
        paths: good images that it did not learn from.
        roi_mask: region of interest.
        device: of the model.
        seed: of the synthetic defects.
        progress: shows how far it is.
        where: the components that are to say where.

    Returns:
        How much each component counts, and how well each and all together find the synthetic defects, for the run's
        record.
    """
    synthetic_images = evenly_spread(paths, MOST_SYNTHETIC)
    values_BKHW, masks, kinds = _scored(model, paths, synthetic_images, roi_mask, device, seed, progress)
    good = values_BKHW[[kind == GOOD for kind in kinds]]
    model.combination.fit(good)
    standard_BKHW = model.combination.standardised(values_BKHW)
    size = (model.input_size[0] // SHRINKING, model.input_size[1] // SHRINKING)
    upsampling = model.upsampling_to(size).to(device)
    judged = [name for name in COMPONENTS if name != "discriminant"]
    alone = {name: _metrics(upsampling(standard_BKHW[:, COMPONENTS.index(name)]), masks, kinds) for name in judged}
    detection_K, localization_K = (
        _asked(alone, metric, meant) for metric, meant in ((AUROC, DETECTION), (AUPRO, where))
    )
    localization_K[COMPONENTS.index("discriminant")] = model.discriminant.fitted
    model.combination.count(good, detection_K=detection_K, localization_K=localization_K)
    return {
        "whether": dict(zip(COMPONENTS, model.combination.whether.tolist(), strict=True)),
        "where": dict(zip(COMPONENTS, model.combination.where.tolist(), strict=True)),
        "synthetic": {**alone, "together": _metrics(model.joined(values_BKHW, upsampling), masks, kinds)},
        "synthetic_images": len(synthetic_images),
    }


def _asked(alone: Mapping[str, Mapping[str, float]], metric: str, meant: Sequence[str]) -> Tensor:
    """The components that are meant for a question and not far behind the best at it, or the best where none is;
    bool.
    """
    best = max(alone, key=lambda name: alone[name][metric])
    close = [name for name in meant if alone[name][metric] >= alone[best][metric] - FAR_BEHIND]
    return torch.tensor([name in (close or [best]) for name in COMPONENTS])


def _scored(
    model: ContextDetector,
    paths: Sequence[Path],
    synthetic_images: Sequence[Path],
    roi_mask: NDArray[np.bool_] | None,
    device: torch.device,
    seed: int,
    progress: Progress,
) -> tuple[Tensor, list[NDArray[np.bool_]], list[str]]:
    """Values of all components, ``(B, K, H, W)``, of images as they are and with each defect, with masks and kinds."""
    size = model.input_size
    # A defect where nothing is looked at could not be found by any component.
    inside_HW = mask_or_everything(roi_mask, size)
    components, masks, kinds = [], [], []
    with progress("combining", len(paths)) as advance:
        for batch in load_images(paths, size, batch_size=1):
            image_3HW = blanked(batch.images, roi_mask)[0].numpy()
            shown = [(GOOD, image_3HW, np.zeros(size, bool))]
            if paths[batch.indices[0]] in synthetic_images:
                shown += add_each_defect(image_3HW, KINDS, inside_HW, (seed, batch.indices[0]))
            # One by one: together, very large images would take more memory than all else.
            for _, changed_3HW, _ in shown:
                components.append(model.components(torch.from_numpy(changed_3HW)[None].to(device)))
            masks += [mask[::SHRINKING, ::SHRINKING] for _, _, mask in shown]
            kinds += [kind for kind, _, _ in shown]
            advance(1)
    return torch.cat(components), masks, kinds


def _metrics(maps_BHW: Tensor, masks: Sequence[NDArray[np.bool_]], kinds: Sequence[str]) -> dict[str, float]:
    maps = maps_BHW.cpu().numpy()
    images = [
        ScoredImage(name=f"{number}", defect=kind, score=float(anomaly_map.max()), anomaly_map=anomaly_map, mask=mask)
        for number, (anomaly_map, mask, kind) in enumerate(zip(maps, masks, kinds, strict=True))
        if kind == GOOD or mask.any()
    ]
    found = evaluate(images, bootstrap=0, limits=(0.3,)).metrics
    return {name: round(float(found[name] or 0.0), 6) for name in (AUPRO, AUROC)}
