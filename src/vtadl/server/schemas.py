"""What the API says of inspections and detectors, as the OpenAPI document describes it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from vtadl.server.tables import Inspection, Label, Version
from vtadl.server.texts import Text

Verdict = Literal["good", "review", "defective"]
Judgement = Literal["good", "defective", "unsure"]


class RegionAnswer(BaseModel):
    """A connected part of the picture that scores above the card's pixel threshold."""

    area: int = Field(description="pixels")
    box: tuple[int, int, int, int] = Field(description="left, top, right, bottom")
    peak: tuple[int, int] = Field(description="column and row of the highest score")
    score: float


class Links(BaseModel):
    """Where its pictures are, relative to the server's root."""

    image: str = Field(description="the picture as it was sent")
    overlay: str = Field(description="PNG: the heat map over the photo")
    map: str = Field(description="TIFF: raw scores, 32-bit float, at most 256 pixels a side")


class InspectionAnswer(BaseModel):
    """One picture, and what was said of it."""

    id: str
    created: datetime
    detector: str
    version: int
    name: str
    part: str | None
    batch: str | None
    tags: list[str]
    score: float
    p_value: float | None
    verdict: Verdict | None = Field(description="null until the detector is calibrated")
    regions: list[RegionAnswer]
    height: int
    width: int
    brightness: float
    contrast: float
    sharpness: float
    milliseconds: float
    label: Judgement | None = Field(description="what a person said last")
    corrected: bool = Field(description="whether that differs from the verdict")
    kept: bool = Field(description="whether its pictures are still there")
    source: str
    by: str
    links: Links


class Recorded(BaseModel):
    """What was stored."""

    inspections: list[InspectionAnswer]


class InspectionPage(Recorded):
    """A page of the history, the newest first."""

    next: str | None = Field(description="the value of `before` for the next page")


class LabelRequest(BaseModel):
    """What a person says of an inspection."""

    label: Judgement | None = Field(description="null takes back what was said before")
    note: Text = ""


class LabelAnswer(BaseModel):
    """One entry of a label's history."""

    label: Judgement | None
    note: str
    by: str
    at: datetime


class VersionAnswer(BaseModel):
    """A version of a detector."""

    number: int
    active: bool
    folder: str
    why: str
    by: str
    created: datetime
    description: dict[str, Any] = Field(description="kind, category, preset, card")


class DetectorAnswer(BaseModel):
    """A detector, and the version that judges."""

    name: str
    active: int
    version: VersionAnswer


def answer_of(row: Inspection, tags: Iterable[str]) -> InspectionAnswer:
    """An inspection as the API gives it."""
    root = f"/v1/inspections/{row.id}"
    columns = {name: getattr(row, name) for name in InspectionAnswer.model_fields if hasattr(row, name)}
    links = Links(image=f"{root}/image", overlay=f"{root}/overlay", map=f"{root}/map")
    return InspectionAnswer(**columns, created=moment(row.created_ms), tags=sorted(tags), links=links)


def label_answer(row: Label) -> LabelAnswer:
    """An entry of a label's history as the API gives it."""
    return LabelAnswer(label=row.label, note=row.note, by=row.by, at=moment(row.at_ms))  # type: ignore[arg-type]


def version_answer(row: Version, active: int) -> VersionAnswer:
    """A version as the API gives it."""
    description = {name: value for name, value in row.description.items() if name != "reference"}
    return VersionAnswer(
        number=row.number,
        active=row.number == active,
        folder=row.folder,
        why=row.why,
        by=row.by,
        created=moment(row.created_ms),
        description=description,
    )


def moment(at_ms: int) -> datetime:
    """A stored time."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
