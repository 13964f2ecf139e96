"""Photos and heat maps that a cell keeps, so that a page can show the same images under every detector."""

from dataclasses import dataclass
from pathlib import Path

import torch

from vtadl.data.mask_files import read_mask
from vtadl.evaluation import Report
from vtadl.inference.predict import predict_files
from vtadl.reports.pictures import encoded, mask_outline, photo_and_heat
from vtadl.runs.files import write_bytes
from vtadl.runs.run import Run

PICTURES_FOLDER = "pictures"
COUNT = 5
"""Defective images that are kept; one good image stands beside them."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One image under one detector."""

    name: str
    label: str
    score: float
    photo: str
    """The file's name in the cell's folder of pictures."""
    heat: str
    width: int
    height: int
    outline: tuple[float, float, str] | None
    """From `mask_outline`."""


def take_snapshots(run: Run, report: Report, folder: Path, device: torch.device) -> tuple[Snapshot, ...]:
    """Draw a few test images, the same for every detector, and write them below ``folder``."""
    chosen = choose_images([sample.label for sample in report.samples], [s.is_defective for s in report.samples])
    paths = [report.samples[index].path for index in chosen]
    taken = []
    for one in predict_files(run, paths, device, keep_originals=True):
        sample = report.samples[chosen[one.index]]
        photo, heat = photo_and_heat(run, one)
        names = []
        for kind, image in (("photo", photo), ("heat", heat)):
            content = encoded(image)
            suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
            names.append(f"{one.index}-{kind}.{suffix}")
            write_bytes(folder / PICTURES_FOLDER / names[-1], content)
        size = one.prediction.anomaly_map.shape
        mask = None if sample.mask is None else read_mask(sample.mask, size, sample.path)
        taken.append(
            Snapshot(
                name=sample.path.name,
                label=sample.label,
                score=one.prediction.score,
                photo=names[0],
                heat=names[1],
                width=photo.shape[1],
                height=photo.shape[0],
                outline=None if mask is None else mask_outline(mask),
            )
        )
    return tuple(taken)


def choose_images(labels: list[str], defective: list[bool]) -> list[int]:
    """The first images of each type of defect in turn, then the first good one: nothing depends on how they score."""
    types = sorted({label for label, bad in zip(labels, defective, strict=True) if bad})
    of_type = [[index for index, label in enumerate(labels) if label == kind] for kind in types]
    longest = max(map(len, of_type), default=0)
    in_turn = [indices[turn] for turn in range(longest) for indices in of_type if turn < len(indices)]
    good = [index for index, bad in enumerate(defective) if not bad]
    return sorted(in_turn[:COUNT]) + good[:1]
