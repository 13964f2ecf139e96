"""What others printed for the same settings, and what those numbers measure. Never a target, never a result of ours."""

from dataclasses import dataclass
from typing import Any

from vtadl.config.presets import PRESETS
from vtadl.config.schema import Config, PaperConfig
from vtadl.data.findings import PUBLISHED_COUNTS
from vtadl.data.layouts import Category
from vtadl.losses.objective import parse_objective

MEASURED = ("pixel_AUROC", "pixel_AUPRO@0.3")
"""The metrics beside which they stand: the one that they measure, and the one whose name they bear."""


@dataclass(frozen=True, kw_only=True)
class PublishedColumn:
    """A column of a published table."""

    title: str
    meaning: str
    values: dict[str, float]
    """By category of MVTec AD."""


def _by_category(*values: float) -> dict[str, float]:
    return dict(zip(sorted(PUBLISHED_COUNTS), values, strict=True))


COLUMNS: dict[str, PublishedColumn] = {
    "5*mse + 0.5*ssim + nll": PublishedColumn(
        title="published: original loss",
        meaning=(
            "VT-ADL, ISIE 2021, table III, as the loss study repeats it. Called PRO there; the released code computes "
            "pixel AUROC instead (roc_auc_score of masks and scores), with masks dilated and the border cropped away. "
            "Not comparable with AUPRO."
        ),
        values=_by_category(
            *(0.949, 0.776, 0.672, 0.773, 0.871, 0.897, 0.728, 0.726),
            *(0.705, 0.928, 0.796, 0.901, 0.796, 0.781, 0.808),
        ),
    ),
    "mse + vae": PublishedColumn(
        title="published: proposed loss",
        meaning=(
            "The loss study's column for MSE + VAE. In all 15 rows it equals the column of another method, Uninformed "
            "Students, in VT-ADL's own table III, so it says nothing of this loss."
        ),
        values=_by_category(
            *(0.918, 0.865, 0.916, 0.695, 0.819, 0.937, 0.819, 0.895),
            *(0.935, 0.928, 0.912, 0.863, 0.701, 0.725, 0.933),
        ),
    ),
}

_FREE_MODEL = ("variant", "mixtures", "smoothing")
"""Settings that the publications leave open, or of which the paper and its code have different ones."""
_FREE_TRAINING = ("precision", "compile", "checkpoint_every")


def published_column(objective: str | None) -> PublishedColumn | None:
    """The column of an objective, whatever the order of its terms; what the published code computes counts as nll."""
    if objective is None:
        return None
    columns = {_terms(expression): column for expression, column in COLUMNS.items()}
    return columns.get(_terms(objective))


def published_value(config: Config, category: Category) -> float | None:
    """The published number of a cell with the published settings on a whole category of MVTec AD; else ``None``."""
    column = published_column(config.objective)
    if config.preset != "paper" or column is None or not _is_published_setting(config):
        return None
    name = category.name.lower().replace(" ", "_")
    defective = sum(sample.is_defective for sample in category.test)
    counts = (len(category.train), len(category.test) - defective, defective)
    if category.layout != "mvtec" or PUBLISHED_COUNTS.get(name) != counts:
        return None
    return column.values[name]


def _terms(objective: str) -> tuple[tuple[str, float], ...]:
    terms = parse_objective(objective).terms
    return tuple(sorted((name.removesuffix("_reference"), weight) for name, weight in terms))


def _is_published_setting(config: Config) -> bool:
    published = PRESETS["paper"]
    assert isinstance(published.model, PaperConfig)
    return _bound(config.model, _FREE_MODEL) == _bound(published.model, _FREE_MODEL) and _bound(
        config.training, _FREE_TRAINING
    ) == _bound(published.training, _FREE_TRAINING)


def _bound(settings: Any, free: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in vars(settings).items() if key not in free}
