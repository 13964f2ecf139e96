"""The only file of the server that knows the rest of vtadl: it describes detectors, scores pictures, draws heat maps.

`describe`, `score` and `warm` run in a worker process and give plain values, which travel between processes.
"""

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vtadl.data.appearance import measure_appearance
from vtadl.data.images import read_image
from vtadl.data.resizing import resize_map
from vtadl.decision.heatmap import colours, eight_bit, opacities, positions
from vtadl.errors import BundleError, DataError
from vtadl.threads import use_threads

RUN_FILE, EXPORT_FILE, CARD_FILE = "run.json", "manifest.json", "card.json"
MAP_SIDE = 256
"""Stored maps have at most so many pixels a side: what a detector sees is coarser."""
MOST_REGIONS = 100
"""The worst are kept: a picture of noise has thousands."""
APPEARANCE = ("brightness", "contrast", "sharpness")
LOADED = 4
"""Detectors that a worker keeps in memory."""
AHEAD = 2
"""Pictures decoded ahead of the model, and as many finished behind it."""


class _Process:
    """What a process that scores keeps."""

    def __init__(self) -> None:
        self.loaded: OrderedDict[str, Any] = OrderedDict()
        self.helpers = ThreadPoolExecutor(AHEAD, thread_name_prefix="vtadl-pictures")


_process = _Process()


class Picture(NamedTuple):
    """What a worker is to score."""

    file: str
    map: str | None
    """Where its anomaly map is to be written; ``None``: nowhere."""
    name: str
    """What the sender calls it, for messages."""


def start_worker(threads: int) -> None:
    """Prepare a process: how many threads a model may use, and an end when the server is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # Ctrl-C and systemd's SIGTERM reach every process; the server ends its workers when they have finished.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    use_threads(threads)

    def leave_with_the_server() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_the_server, daemon=True).start()


def fingerprint(folder: Path) -> str:
    """Tells whether a run folder or an export was changed.

    Raises:
        BundleError: it is neither.
    """
    digest = hashlib.sha256()
    name = RUN_FILE if (folder / RUN_FILE).exists() else EXPORT_FILE
    for file in (folder / name, folder / CARD_FILE):
        try:
            digest.update(file.read_bytes())
        except FileNotFoundError as error:
            if file.name == name:
                raise BundleError(
                    f"no detector at '{folder}'; expected a folder that vtadl train or vtadl export wrote"
                ) from error
        except OSError as error:
            raise BundleError(f"cannot read '{file}': {error.strerror}; restore it") from error
    return digest.hexdigest()


def describe(folder: str) -> dict[str, Any]:
    """What a detector is, as JSON: kind, category, preset, colours, card and reference values.

    Raises:
        VtadlError: the folder holds no detector, or a damaged one.
    """
    detector = _detector(folder)
    if hasattr(detector, "run"):
        run = detector.run
        card, source = run.card, run.source
        about = {"kind": "run", "category": source.category, "preset": run.config.preset, "images": source.images}
        colour, reference = run.held_out, _reference(card, run.held_out)
    else:
        manifest, card = detector.manifest, detector.card
        about = {"kind": "export", "category": manifest.category, "preset": manifest.preset, "images": None}
        colour, reference = manifest, _reference(card, None)
    return {
        **about,
        "colours": [colour.colour_low, colour.colour_high],
        "card": None if card is None else _summary(card),
        "reference": reference,
    }


def warm(folder: str) -> None:
    """Load a detector, so that the first picture does not wait for it."""
    _detector(folder)


def score(folder: str, pictures: Sequence[Picture]) -> list[dict[str, Any] | str]:
    """Score pictures, decoding ahead of the model and finishing behind it.

    Returns:
        For each the columns of its row, or what is wrong with it.
    """
    detector = _detector(folder)
    decoding = deque(_process.helpers.submit(read_image, Path(one.file)) for one in pictures[:AHEAD])
    finishing: list[Future[dict[str, Any]] | str] = []
    for number, picture in enumerate(pictures):
        pixels = decoding.popleft()
        if number + AHEAD < len(pictures):
            decoding.append(_process.helpers.submit(read_image, Path(pictures[number + AHEAD].file)))
        started = time.perf_counter()
        try:
            prediction = detector.predict(pixels.result())
        except DataError as error:
            finishing.append(str(error).replace(picture.file, picture.name))
            continue
        milliseconds = 1000 * (time.perf_counter() - started)
        finishing.append(_process.helpers.submit(_row, prediction, pixels.result(), picture.map, milliseconds))
        del pixels
    return [one if isinstance(one, str) else one.result() for one in finishing]


def heat(map_file: Path, low: float, high: float, size: tuple[int, int]) -> Image.Image:
    """A stored anomaly map as colour that lies over the photo: transparent where it is calm.

    Args:
        map_file: what `score` wrote.
        low: score of a calm pixel.
        high: score of the last colour.
        size: width and height of the picture; the layer has at most 1024 pixels a side.
    """
    with Image.open(map_file) as stored:
        scores = np.asarray(stored, np.float32)
    shrink = min(1.0, 1024 / max(size))
    width, height = (max(1, round(side * shrink)) for side in size)
    places = positions(resize_map(scores, (height, width)), low, high)
    layer = np.dstack([colours(places), 255 * opacities(places)]).round().astype(np.uint8)
    return Image.fromarray(layer)


def photo(file: Path) -> Image.Image:
    """A stored picture with eight bits a channel, upright, to look at."""
    return Image.fromarray(eight_bit(read_image(file)))


def compare(reference: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A period's inspections against calibration, as `vtadl drift` compares them.

    Raises:
        DataError: too few images on either side.
    """
    from vtadl.calibration.drift import find_drift

    appearance = tuple(zip(*(reference[name] for name in APPEARANCE), strict=True))
    held_out = SimpleNamespace(scores=tuple(reference["score"]), appearance=appearance)
    found: dict[str, Any] = find_drift(SimpleNamespace(card=None, held_out=held_out), rows).to_json()  # type: ignore[arg-type]
    return found


def has_test_images(folder: str) -> bool:
    """Whether a category can be evaluated."""
    from vtadl.data.layouts import read_category

    try:
        return bool(read_category(Path(folder)).test)
    except DataError:
        return False  # `vtadl data check` says what is wrong.


def presets() -> list[str]:
    """Names of the presets that a training may take."""
    from vtadl.config.presets import PRESETS

    return list(PRESETS)


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Where a counted share truly lies with 95 % probability."""
    from vtadl.decision.threshold import share_interval as exact

    return exact(hits, count)


def _detector(folder: str) -> Any:
    if folder in _process.loaded:
        _process.loaded.move_to_end(folder)
        return _process.loaded[folder]
    if (Path(folder) / RUN_FILE).exists():
        import vtadl

        found: Any = vtadl.load(folder)
    else:
        from vtadl import runtime

        found = runtime.load(folder)
    _process.loaded[folder] = found
    if len(_process.loaded) > LOADED:
        _process.loaded.popitem(last=False)
    return found


def _row(prediction: Any, pixels: NDArray[Any], map_file: str | None, milliseconds: float) -> dict[str, Any]:
    height, width = prediction.anomaly_map.shape
    if map_file is not None:
        shrink = min(1.0, MAP_SIDE / max(height, width))
        small = resize_map(prediction.anomaly_map, (max(1, round(height * shrink)), max(1, round(width * shrink))))
        Image.fromarray(small).save(map_file, format="TIFF")
    return {
        "score": float(prediction.score),
        "p_value": prediction.p_value,
        "verdict": prediction.verdict,
        "regions": [dataclasses.asdict(region) for region in prediction.regions[:MOST_REGIONS]],
        "height": height,
        "width": width,
        **measure_appearance(pixels)._asdict(),
        "milliseconds": round(milliseconds, 2),
        "deep": pixels.dtype != np.uint8,
    }


def _summary(card: Any) -> dict[str, Any]:
    """The decision card without its images."""
    content = dataclasses.asdict(card)
    parts = content.pop("calibration_sets")
    content["images"] = [{"kind": part["kind"], "count": len(part["scores"]), "added": part["added"]} for part in parts]
    return content


def _reference(card: Any, held_out: Any) -> dict[str, list[float]]:
    """Values of good images in calibration, by statistic, as `vtadl.calibration.drift` takes them; empty where there
    are none.
    """
    if card is None:
        scores, looks = ([], []) if held_out is None else (list(held_out.scores), list(held_out.appearance))
    else:
        # Rejects that were fine are no fair sample of good parts, and cross-fitted scores are other detectors'.
        fair = [part for part in card.calibration_sets if part.kind in ("held out", "cross-fit", "added good")]
        scores = [score for part in fair if part.kind != "cross-fit" for score in part.scores]
        looks = [image for part in fair for image in part.appearance]
    columns = list(zip(*looks, strict=True)) or [(), (), ()]
    return {"score": scores, **{name: list(column) for name, column in zip(APPEARANCE, columns, strict=True)}}
