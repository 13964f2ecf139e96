"""What the loss study measured, in one file that is kept, so that the page can be written again without a GPU."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loss_study.jobs import ARMS, ORIGINAL, PROPOSED, Arm
from loss_study.measure import SCORES, TRAINED, Score

FILE = Path(__file__).resolve().parents[1] / "study_results.json"
MEASURES = ("image_AUROC", "pixel_AUROC", "pixel_AP", "pixel_AUPRO@0.3", "vtadl2021_PRO")
AUPRO, PUBLISHED = "pixel_AUPRO@0.3", "vtadl2021_PRO"
CATEGORIES = ("transistor", "bottle", "fabric")
LOSSES = (ORIGINAL, PROPOSED)


def collect(out: Path, context: Path | None) -> None:
    """Put the files of all trainings and baselines, and a comparison's, into the one that is kept."""
    trainings = [json.loads(path.read_text()) for path in sorted(out.glob("*_seed*.json"))]
    baselines = {path.stem.removeprefix("baseline-"): path for path in sorted(out.glob("baseline-*.json"))}
    content = {
        "measures": MEASURES,
        "baselines": {name: _values(json.loads(path.read_text())) for name, path in baselines.items()},
        "context": _compared(json.loads(context.read_text())) if context else read().get("context"),
    }
    lines = [f'"{key}": {json.dumps(value)}' for key, value in content.items()]
    of_trainings = ",\n".join(
        json.dumps(_kept(training)) for training in trainings if training["looks"] or training["scores"]
    )
    FILE.write_text("{" + ",\n".join(lines) + f',\n"trainings": [\n{of_trainings}\n]}}\n')


def read() -> dict[str, Any]:
    """The file that is kept."""
    content: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return content


def _kept(training: dict[str, Any]) -> dict[str, Any]:
    kept = {key: training[key] for key in ("part", "arm", "category", "objective", "seed", "steps", "done")}
    kept["variance"] = {step: float(f"{value:.3g}") for step, value in training["variance"].items()}
    kept["looks"] = {
        step: {name: _values(metrics) for name, metrics in look.items()} for step, look in training["looks"].items()
    }
    kept["scores"] = {name: _values(metrics) for name, metrics in training["scores"].items()}
    return kept


def _values(metrics: Mapping[str, float | None]) -> list[float | None]:
    values = [metrics.get(name) for name in MEASURES]
    return [None if value is None else round(value, 4) for value in values]


def _compared(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``vtadl compare``'s JSON, what the page shows."""
    found = comparison["metrics"][AUPRO]
    return {"settings": comparison["settings"], **found}


@dataclass(frozen=True)
class Change:
    """A set of changes: of what is trained, and of how a trained network scores."""

    arm: Arm
    score: Score

    @property
    def count(self) -> int:
        """Settings and terms that differ from the corrected model's."""
        score = self.score
        trained = len(self.arm.settings) + bool(self.arm.terms)
        return trained + (score.anomaly_map != "objective") + (score.of == "residual") + (score.residual != "squared")

    @property
    def name(self) -> str:
        if self.score == TRAINED:
            return self.arm.name
        return self.arm.name + "; " + words(self.score)


def words(score: Score) -> str:
    """What an anomaly map is made of, in words."""
    kind = {"squared": "squared residual", "gms": "`gms` residual", "ms_ssim": "`ms_ssim` residual"}[score.residual]
    if score.anomaly_map == "sum":
        return f"density + {kind}"
    what = "density" if score.of == "objective" else kind
    return what + (", standardised" if score.anomaly_map == "standardised" else "")


def mean_images(size: int) -> dict[str, float]:
    """AUPRO of the distance from the mean good image, by category."""
    at = MEASURES.index(AUPRO)
    return {name: read()["baselines"][f"{name}-{size}"][at] for name in CATEGORIES}


def changes() -> dict[Change, dict[tuple[str, str], float]]:
    """AUPRO by category and loss of every set of changes that was measured on all three categories, seed 0."""
    found: dict[Change, dict[tuple[str, str], float]] = {}
    trainings = {(t["arm"], t["category"], t["objective"]): t for t in of_part("repair") if t["done"]}
    at = MEASURES.index(AUPRO)
    for arm in ARMS:
        for score in SCORES:
            values = {}
            for name in CATEGORIES:
                for loss in LOSSES:
                    training = trainings.get((arm.name, name, loss + arm.terms))
                    if training is not None:
                        values[name, loss] = training["scores"][score.name][at]
            if len(values) == len(CATEGORIES) * len(LOSSES):
                found[Change(arm, score)] = values
    return found


def of_part(part: str) -> Iterator[dict[str, Any]]:
    """The trainings of a part, seed 0."""
    yield from (training for training in read()["trainings"] if training["part"] == part and training["seed"] == 0)
