"""vtadl: Vision Transformers for visual anomaly detection and localization.

detector = vtadl.train("data/mvtec/transistor", preset="gaussian", seed=0)
prediction = detector.predict("part.png")  # .score, .anomaly_map (H, W) at the image's own size, .verdict
report = vtadl.evaluate(detector, "data/mvtec/transistor")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vtadl.threads import use_threads, wait_passively
from vtadl.version import __version__

__all__ = [
    "Backbone",
    "Config",
    "Density",
    "Detector",
    "Loss",
    "Prediction",
    "Report",
    "Teaching",
    "__version__",
    "evaluate",
    "load",
    "metrics",
    "teach",
    "train",
]

if TYPE_CHECKING:
    from vtadl import metrics
    from vtadl.api import (
        Backbone,
        Config,
        Density,
        Detector,
        Loss,
        Prediction,
        Report,
        Teaching,
        evaluate,
        load,
        teach,
        train,
    )

wait_passively()  # whatever of the package is imported first comes through here, before it imports torch


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds: `vtadl --help` should not wait for it.
    if name == "metrics":
        return import_module("vtadl.metrics")  # needs no torch
    if name in __all__:
        use_threads()
        from vtadl import api

        return getattr(api, name)
    raise AttributeError(f"module 'vtadl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
