"""Images that a detector generates: what its decoder makes of random vectors. They show what it has learned."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vtadl.errors import ConfigError
from vtadl.models.paper import PaperDetector
from vtadl.progress import Progress, silent
from vtadl.runs.folders import SAMPLES_FILE, new_folder
from vtadl.runs.run import Run, weights_sha256

BATCH = 16
MOST = 100_000


def generated(run: Run, count: int, device: torch.device) -> Iterator[NDArray[np.uint8]]:
    """Images ``(S, S, 3)`` of z from the prior; the run's seed decides them, and more begin with the same ones.

    Raises:
        ConfigError: the detector generates nothing, or not so many.
    """
    if not 1 <= count <= MOST:
        raise ConfigError(f"{count} images are asked for; expected 1 to {MOST:,}")
    network = run.model.network if isinstance(run.model, PaperDetector) else None
    if network is None or network.posterior is None:
        trained = f"with '{run.config.objective}'" if run.config.objective else "without an objective"
        raise ConfigError(
            f"preset '{run.config.preset}' trained {trained} generates no images; train preset paper with an "
            'objective such as "mse + vae_image"'
        )
    network.to(device)
    generator = torch.Generator().manual_seed(run.config.seed)
    for start in range(0, count, BATCH):
        # Whole batches, whose beginnings do not depend on how many follow.
        images_B3HW = network.sample(BATCH, generator)[: count - start]
        pixels_BHW3 = (images_B3HW.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        yield from pixels_BHW3.cpu().numpy()


def write_generated(
    run: Run, count: int, out: Path, device: torch.device, *, force: bool = False, progress: Progress = silent
) -> None:
    """Write generated images as PNG files, and by which detector; the folder appears whole.

    Raises:
        ConfigError: the detector generates nothing, or not so many.
        BundleError: ``out`` holds something already, or cannot be written.
    """
    images = generated(run, count, device)
    first = next(images)  # what cannot be is said before anything is written
    with new_folder(out, force=force) as folder, progress("generating", count) as advance:
        for number, image in enumerate(chain([first], images)):
            Image.fromarray(image).save(folder / f"{number:0{len(str(count - 1))}}.png")
            advance(1)
        about = {"detector": weights_sha256(run.model), "objective": run.config.objective, "seed": run.config.seed}
        (folder / SAMPLES_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
