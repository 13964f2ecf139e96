"""Make a run of a network that was trained elsewhere."""

import hashlib
from dataclasses import replace

import torch

from vtadl.config.presets import preset_config
from vtadl.data.layouts import Category
from vtadl.data.splits import training_split
from vtadl.data.training_images import TrainingImages
from vtadl.inference.held_out import score_held_out
from vtadl.models.paper import PaperDetector
from vtadl.models.paper_network import PaperModel
from vtadl.models.protocol import Fitted
from vtadl.progress import Progress, silent
from vtadl.runs.run import Run, Source
from vtadl.training.session import TrainingSession
from vtadl.training.train import new_run


def adopted_run(
    network: PaperModel, category: Category | None, device: torch.device, *, progress: Progress = silent
) -> Run:
    """A run of weights that were trained elsewhere.

    A category's good training images set the colours of heat maps. Their scores are not kept: whether they were trained
    on is not known.

    Raises:
        DataError: the category has no training images, or one that cannot be used.
    """
    config = replace(preset_config("paper", objective=str(network.objective)), model=network.config)
    session = TrainingSession(config=config, device=device, progress=progress)
    nothing = hashlib.sha256(b"").hexdigest()
    source = Source(category="an import", layout="no", trained_on=0, held_out=0, content_sha256=nothing)
    if category is None:
        return new_run(PaperDetector(network), Fitted(), source, None, session)
    run = new_run(PaperDetector(network), Fitted(), source, category.roi_mask, session)
    images = TrainingImages.of(training_split(category)[0], category.roi_mask)
    run.held_out = score_held_out(run, images, device, progress).colours
    return run
