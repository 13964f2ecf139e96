"""Teach a detector more good images: it changes as if it had been trained on them too, without the earlier ones."""

import copy
import hashlib
from dataclasses import replace

import torch

from vtadl.data.likeness import look_of, merged_look
from vtadl.data.training_images import GoodImages
from vtadl.errors import BundleError, ConfigError
from vtadl.inference.held_out import score_held_out
from vtadl.models.protocol import Teachable
from vtadl.progress import Progress, silent
from vtadl.runs.learned import Learned
from vtadl.runs.run import LOOK, Run, Source
from vtadl.training.session import TrainingSession


def check_teachable(run: Run) -> None:
    """Refuse a detector that cannot be taught.

    Raises:
        ConfigError: its preset cannot.
        BundleError: it does not hold what teaching takes.
    """
    if not isinstance(run.model, Teachable):
        raise ConfigError(
            f"preset '{run.config.preset}' cannot be taught; train it again on a folder with the earlier and the new "
            "images, or train the preset fusion or accurate"
        )
    if run.learned is None:
        raise BundleError(
            "the run has no learned.safetensors, which teaching takes: it was removed, or an earlier vtadl wrote the "
            "run; train again on a folder with the earlier and the new images"
        )


def taught(run: Run, images: GoodImages, device: torch.device, progress: Progress = silent) -> Run:
    """Another run, which has learned more images; without a card, as the scores are others now.

    Args:
        run: that `check_teachable` lets pass.
        images: ``kept`` are those to learn, one at least, none of which the run has seen; ``held_out`` are all that
            shall be held out from now on.
        device: where to learn.
        progress: shows how far it is.

    Raises:
        BundleError: what the run keeps for it is damaged.
        DataError: an image cannot be read.
    """
    assert run.learned is not None
    model = copy.deepcopy(run.model).to(device)
    assert isinstance(model, Teachable)
    session = TrainingSession(config=run.config, device=device, progress=progress)
    fitted = model.teach(images.kept, session, run.learned.tensors())
    look = merged_look(run.training.get(LOOK, {}), look_of(images.kept.paths, images.kept.value_range))
    after = replace(
        run,
        model=model.eval(),
        learned=Learned(held=fitted.learned),
        source=_together(run, images),
        training={**run.training, LOOK: look},
        card=None,
    )
    # Without any the colours stay: a training image scores far lower than a new one.
    held_out = (
        score_held_out(after, images.held_out, device, progress) if len(images.held_out) else run.held_out.colours
    )
    return replace(after, held_out=held_out)


def _together(run: Run, images: GoodImages) -> Source:
    trained = tuple(sorted(run.source.training_sha256 + images.kept.sha256))
    everything = "".join(sorted(trained + images.held_out.sha256))
    return replace(
        run.source,
        trained_on=run.source.trained_on + len(images.kept),
        held_out=len(images.held_out),
        content_sha256=hashlib.sha256(everything.encode()).hexdigest(),
        training_sha256=trained,
    )
