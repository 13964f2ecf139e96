"""In which poses do parts come? Found on good training images alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtadl.data.loading import evenly_spread, load_images
from vtadl.data.roi import blanked
from vtadl.density.gaussian import GaussianMoments, PositionGaussian
from vtadl.models.context import ContextDetector
from vtadl.nn.poses import FLIPS, POSES, QUARTER_TURNS
from vtadl.progress import Progress

MOST_LEARNED, MOST_JUDGED = 64, 16
LIKE_OWN = 0.7
"""A pose counts as one that parts come in if an image in it outscores another one in its own no more often than this:
0.5 where parts lie anyhow, 1 where every change shows. Every pose of transistor, bottle and the demo set is at 1.00."""
BATCH = 8


def chosen_poses(
    model: ContextDetector,
    learning: Sequence[Path],
    validation: Sequence[Path],
    roi_mask: NDArray[np.bool_] | None,
    device: torch.device,
    progress: Progress,
) -> tuple[list[str], dict[str, float]]:
    """The poses, besides its own, in which each good image is to be learned from.

    By ``model.config.poses``; for ``auto``, a Gaussian per position is fitted to smaller copies of some images, as the
    transformer sees them, and others are scored as they are and in each pose: where parts come in a pose anyhow, it is
    no more unlikely than their own. Where quarter turns show, parts have a way up, and so has their light or grain:
    then no pose is learned, not even flips that hardly show (those of ground tiles are at 0.6, and learning them costs
    accuracy). Oblong images cannot be turned by quarters; there all flips must pass.

    Args:
        model: its backbone embeds.
        learning: good images to fit to.
        validation: good images to score.
        roi_mask: region of interest.
        device: of the model.
        progress: shows how far it is.

    Returns:
        Keys of `POSES`; and for ``auto``, of each possible pose, how often an image in that pose scores above another
        in its own (area under the ROC curve).
    """
    possible = [*POSES] if model.view_size[0] == model.view_size[1] else [*FLIPS]
    match model.config.poses:
        case "fixed":
            return [], {}
        case "flips":
            return [*FLIPS], {}
        case "any":
            return possible, {}

    def embed(images_B3HW: Tensor) -> Tensor:
        return model.embed(blanked(images_B3HW, roi_mask).to(device))

    learning, validation = evenly_spread(learning, MOST_LEARNED), evenly_spread(validation, MOST_JUDGED)
    moments = GaussianMoments()
    with progress("poses", len(learning) + len(validation)) as advance:
        for images in _images(model, learning):
            moments.update(embed(images))
            advance(len(images))
        density = PositionGaussian(moments.mean_PD.shape[1], model.network.patches).to(device)
        density.fit(moments)
        scores: dict[str | None, list[Tensor]] = {pose: [] for pose in (None, *possible)}
        for images in _images(model, validation):
            for pose, found in scores.items():
                posed = images if pose is None else POSES[pose](images)
                found.append(density(embed(posed)).mean((1, 2)).cpu())
            advance(len(images))
    own = torch.cat(scores.pop(None))
    told_apart = {str(pose): round(_outscored(torch.cat(found), own), 3) for pose, found in scores.items()}
    alike = [pose for pose, rate in told_apart.items() if rate <= LIKE_OWN]
    deciding = QUARTER_TURNS if possible == [*POSES] else FLIPS
    return alike if set(deciding) <= set(alike) else [], told_apart


def _images(model: ContextDetector, paths: Sequence[Path]) -> Iterator[Tensor]:
    for batch in load_images(paths, model.view_size, batch_size=BATCH):
        yield batch.images


def _outscored(posed_N: Tensor, own_N: Tensor) -> float:
    """How often an image in the pose scores above another in its own; ties count half."""
    others = ~torch.eye(len(own_N), dtype=torch.bool) if len(own_N) > 1 else torch.ones(1, 1, dtype=torch.bool)
    difference_NN = (posed_N[:, None] - own_N)[others]
    return float((difference_NN > 0).float().mean() + (difference_NN == 0).float().mean() / 2)
