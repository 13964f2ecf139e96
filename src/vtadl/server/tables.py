"""What the server stores. Times are milliseconds since 1970, UTC; an inspection's id begins with its time."""

import os
import time
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID_LENGTH = 32


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Detector(Base):
    """A name under which pictures are sent, and the version that judges them."""

    __tablename__ = "detectors"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    active: Mapped[int]
    """Number of the version that judges."""
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Version(Base):
    """A copy of a run folder or an export, as it was when it was added."""

    __tablename__ = "versions"

    id: Mapped[int] = mapped_column(primary_key=True)
    detector: Mapped[str] = mapped_column(ForeignKey("detectors.name"))
    number: Mapped[int]
    folder: Mapped[str] = mapped_column(Text)
    """Relative to the data folder."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Of the folder's small files: tells whether a folder of the command line was changed."""
    description: Mapped[dict[str, Any]]
    """What `vtadl.server.detectors.describe` says of it, and ``metrics`` of an evaluation."""
    why: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(100))
    created_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("versions_number", "detector", "number", unique=True),)


class Inspection(Base):
    """One picture, and what was said of it."""

    __tablename__ = "inspections"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    detector: Mapped[str] = mapped_column(String(100))
    version: Mapped[int]
    source: Mapped[str] = mapped_column(String(20))
    """"api", "page" or "watch"."""
    by: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(255))
    """What the sender called the file: shown, never used as a path."""
    part: Mapped[str | None] = mapped_column(String(200))
    batch: Mapped[str | None] = mapped_column(String(200))
    score: Mapped[float]
    p_value: Mapped[float | None]
    verdict: Mapped[str | None] = mapped_column(String(10))
    regions: Mapped[list[Any]]
    height: Mapped[int]
    width: Mapped[int]
    brightness: Mapped[float]
    contrast: Mapped[float]
    sharpness: Mapped[float]
    milliseconds: Mapped[float]
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    """Of picture and map together."""
    kind: Mapped[str] = mapped_column(String(4))
    """Suffix of the picture's format."""
    deep: Mapped[bool]
    """Whether the picture has more than eight bits a channel."""
    kept: Mapped[bool] = mapped_column(default=True)
    """Whether picture and map are still there."""
    label: Mapped[str | None] = mapped_column(String(10))
    """What a person said last: good, defective, unsure."""
    corrected: Mapped[bool] = mapped_column(default=False)
    """Whether that differs from the verdict."""

    __table_args__ = (
        # With what the chart of the history counts, so that it reads the index alone.
        Index("inspections_time", "created_ms", "verdict"),
        Index("inspections_detector", "detector", "id", "created_ms", "verdict"),
        Index("inspections_verdict", "verdict", "id", "created_ms"),
        Index("inspections_batch", "batch", "id"),
        Index("inspections_label", "label", "id"),
        Index("inspections_corrected", "corrected", "id"),
        Index("inspections_kept", "kept", "label", "verdict", "id"),
    )


class Tag(Base):
    """A free label that came with a picture."""

    __tablename__ = "tags"

    tag: Mapped[str] = mapped_column(String(100), primary_key=True)
    inspection: Mapped[str] = mapped_column(ForeignKey("inspections.id"), primary_key=True)

    __table_args__ = (Index("tags_inspection", "inspection"),)


class Label(Base):
    """What a person said of an inspection; the last row counts, none is changed."""

    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    inspection: Mapped[str] = mapped_column(ForeignKey("inspections.id"), index=True)
    label: Mapped[str | None] = mapped_column(String(10))
    """``None``: what was said before is taken back."""
    note: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(100))
    at_ms: Mapped[int] = mapped_column(BigInteger)


class Rescore(Base):
    """What a version of other weights says of a labelled inspection."""

    __tablename__ = "rescores"

    inspection: Mapped[str] = mapped_column(ForeignKey("inspections.id"), primary_key=True)
    weights: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256: versions that differ in their card only score alike."""
    score: Mapped[float | None]
    """``None``: it cannot read the picture."""


class Answer(Base):
    """The first answer to a request with an idempotency key."""

    __tablename__ = "answers"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    by: Mapped[str] = mapped_column(String(100), primary_key=True)
    request: Mapped[str] = mapped_column(String(64))
    """Hash of what was asked for."""
    inspections: Mapped[list[Any]]
    """Their ids."""
    at_ms: Mapped[int] = mapped_column(BigInteger)


class Token(Base):
    """A name with a secret and a role."""

    __tablename__ = "tokens"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    role: Mapped[str] = mapped_column(String(10))
    key: Mapped[str] = mapped_column(String(16), unique=True)
    """The public half of the secret: finds the row."""
    hash: Mapped[str] = mapped_column(Text)
    """Argon2, of the other half."""
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Session(Base):
    """Somebody who signed in with a browser."""

    __tablename__ = "sessions"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the cookie."""
    token: Mapped[str] = mapped_column(ForeignKey("tokens.name", ondelete="CASCADE"))
    until_ms: Mapped[int] = mapped_column(BigInteger)


class Act(Base):
    """Who did what, for the audit."""

    __tablename__ = "acts"

    id: Mapped[int] = mapped_column(primary_key=True)
    at_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    by: Mapped[str] = mapped_column(String(100))
    act: Mapped[str] = mapped_column(String(40))
    what: Mapped[str] = mapped_column(Text)


class Choice(Base):
    """A setting that is made on the page."""

    __tablename__ = "choices"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[dict[str, Any]]


class Webhook(Base):
    """An address that is told of inspections."""

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(100))
    verdicts: Mapped[list[Any]]
    """Which verdicts it is told of; empty: all."""


class Delivery(Base):
    """A message to a webhook, until it is taken."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    inspection: Mapped[str] = mapped_column(String(ID_LENGTH))
    tries: Mapped[int] = mapped_column(default=0)
    next_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    error: Mapped[str | None] = mapped_column(Text)


class Training(Base):
    """A detector that is being made from the page."""

    __tablename__ = "trainings"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    images: Mapped[str] = mapped_column(Text)
    """Folder of the category; relative to the data folder, where pictures were uploaded."""
    preset: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(10))
    """"running", "failed" or "done"."""
    by: Mapped[str] = mapped_column(String(100))
    created_ms: Mapped[int] = mapped_column(BigInteger)


def now_ms() -> int:
    """The time."""
    return time.time_ns() // 1_000_000


def new_id(at_ms: int | None = None) -> str:
    """An id that sorts by time: 12 hexadecimal digits of milliseconds, 20 of chance."""
    return first_id(now_ms() if at_ms is None else at_ms)[:12] + os.urandom(10).hex()


def first_id(at_ms: int) -> str:
    """The lowest id of a time."""
    return f"{max(at_ms, 0):012x}" + "0" * 20
