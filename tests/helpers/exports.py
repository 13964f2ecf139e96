"""Tiny detectors for the tests of exports: trained in a second, calibrated by hand."""

from pathlib import Path

import torch

from helpers.categories import make_category
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import read_category
from vtadl.decision.card import FORMAT, CalibrationSet, Card
from vtadl.export.onnx_graph import build_graph
from vtadl.runs.run import Run, load_run, weights_sha256
from vtadl.training.train import train_to

TINY = {
    "gaussian": ["model.image_size=64"],
    "memory": ["model.image_size=64", "model.size=50"],
    "context": [
        *("model.image_size=64", "model.mask_radius=1", "model.width=16", "model.heads=2"),
        *("model.depth=2", "model.latent_width=4", "training.steps=2", "training.batch_size=4"),
    ],
    "paper": [
        *("model.image_size=64", "model.patch_size=16", "model.width=16", "model.depth=1", "model.heads=2"),
        *("model.mlp_width=16", "model.mixtures=2", "training.steps=2"),
    ],
}


class GraphsBuiltOnce:
    """`build_graph`, which takes seconds, once for each detector."""

    def __init__(self):
        self.built = {}

    def __call__(self, run: Run):
        roi_mask = None if run.roi_mask is None else (run.roi_mask.shape, run.roi_mask.tobytes())
        key = (weights_sha256(run.model), repr(run.config), roi_mask)
        if key not in self.built:
            self.built[key] = build_graph(run)
        return self.built[key]


def tiny_run(root: Path, preset: str, *settings: str, objective: str | None = None) -> Run:
    category = read_category(make_category(root / "stripes", train=10, good=1, defective=1))
    config = apply_settings(preset_config(preset, objective=objective), [*TINY[preset], *settings])
    train_to(root / "run", config, category, torch.device("cpu"))
    return load_run(root / "run")


def card_for(run: Run, threshold: float, review_threshold: float | None = None) -> Card:
    scores = tuple(sorted(run.held_out.scores)) or (threshold,)
    one = CalibrationSet(
        kind="held out",
        folder="stripes",
        added="2026-01-02T03:04:05+00:00",
        sha256=tuple(f"{number:064}" for number in range(len(scores))),
        scores=scores,
        appearance=(),
    )
    return Card(
        format=FORMAT,
        vtadl="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        weights_sha256=weights_sha256(run.model),
        category="stripes",
        preset=run.config.preset,
        method="by hand",
        promise="none",
        notes=(),
        threshold=threshold,
        review_threshold=review_threshold,
        pixel_threshold=threshold,
        false_rejects=None,
        reviews=None,
        outlined=None,
        misses=None,
        calibration_sets=(one,),
    )
